//! The kernel that loads Countersign plugins, and the auth host built on it.

mod accounts;
mod admin;
mod api;
pub mod app;
mod auth;
pub mod cli;
pub mod config;
mod control;
pub mod embed;
#[cfg(any(fuzzing, test))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http;
pub mod kernel;
mod language;
mod logs;
mod mail;
mod metrics;
mod notify;
mod openapi;
mod pages;
mod people;
mod records;
mod serving;
mod sessions;

pub use config::Config;
pub use kernel::Kernel;
