//! The kernel for an application that has accounts and sessions of its own.
//!
//! ```no_run
//! use axum::{Router, http::request::Parts, routing::post};
//! use countersign_host::{Config, Kernel, embed::*, http::Failure};
//! use countersign_plugin_api::{Refusal, Secret};
//! # use std::net::{IpAddr, Ipv4Addr};
//! # struct MyAccounts;
//! # impl Accounts for MyAccounts {
//! #     fn by_id(&self, id: &str) -> Result<Option<Account>, Unavailable> { Err(Unavailable::new(id)) }
//! #     fn by_email(&self, address: &str) -> Result<Option<Account>, Unavailable> { Err(Unavailable::new(address)) }
//! #     fn mailbox_proven(&self, id: &str) -> Result<(), Unavailable> { Err(Unavailable::new(id)) }
//! # }
//! # struct MySessions;
//! # impl Sessions for MySessions {
//! #     async fn ticket(&self, _: &Parts) -> Result<Option<String>, Unavailable> { Ok(None) }
//! #     async fn keep(&self, _: &Parts, _: &Authentication) -> Result<Issued, Unavailable> { Ok(Issued::default()) }
//! #     async fn end(&self, _: &Parts) -> Result<Issued, Unavailable> { Ok(Issued::default()) }
//! #     async fn end_all(&self, _: &str) -> Result<(), Unavailable> { Ok(()) }
//! #     fn socket(&self, _: &Parts) -> IpAddr { Ipv4Addr::LOCALHOST.into() }
//! # }
//! #[derive(serde::Deserialize)]
//! struct SignIn { email: String, password: Secret<String> }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let kernel = Kernel::builder(Config::load("countersign.toml".as_ref())?)
//!     .accounts(MyAccounts)            // by id, by address; whether a password is right
//!     .sessions(MySessions)            // how a proven login becomes a session
//!     .start().await?;                 // refuses, listing every problem at once
//!
//! let sign_in = {
//!     let kernel = kernel.clone();
//!     async move |request: Parts, body: String| -> Result<Entry, Failure> {
//!         let form: SignIn = serde_json::from_str(&body).map_err(|_| Refusal::malformed("not a sign-in"))?;
//!         Ok(kernel.login(&request, &form.email, &form.password).await?)
//!     }
//! };
//! let app: Router = Router::new()
//!     .route("/sign-in", post(sign_in))
//!     .nest_service("/api/auth", kernel.routes());
//! # drop(app);
//! # Ok(())
//! # }
//! ```
//!
//! # The way of a login
//!
//! ```text
//! the application's form ─→ login ─→ Accounts::check_password ─→ gate ─→ proceed: signed in ──→ Sessions::keep
//!                                                                  └──→ challenge: pending ──→ Sessions::keep
//! code + session ─→ routes ─→ Sessions::ticket ─→ plugin ─→ one write: code spent, login complete ─→ Sessions::keep
//! ```
//!
//! # Modules
//!
//! [`Embedded`], what an application holds · [`Builder`] · [`Accounts`], [`Sessions`], the seam · [`Authentication`], who
//! has come how far · [`FirstFactor`], [`Entry`], logins · [`Routes`] · [`mfa`], the same in process
mod accounts;
mod authentication;
mod builder;
mod embedded;
mod entry;
pub mod mfa;
mod passwords;
mod people;
mod routes;
mod sessions;

pub use accounts::{Account, Accounts, Unavailable};
pub use authentication::Authentication;
pub use builder::Builder;
pub use embedded::Embedded;
pub use entry::{Challenged, Entry, FirstFactor, SignedIn};
pub use routes::Routes;
pub use sessions::{Issued, Sessions};

/// The head of a request.
pub use axum::http::request::Parts;
