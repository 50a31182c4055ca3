//! Every endpoint and the gate, driven through a kernel in memory.
mod budget;
mod call;
mod carry;
mod challenge;
mod email_otp;
mod enrolment;
mod gate;
mod kernel;
mod magic_link;
mod notices;
mod operations;
mod phone;
mod recovery;
mod settings;
mod totp;
mod trust;
mod uri;
