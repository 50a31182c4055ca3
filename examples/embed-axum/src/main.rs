//! An application as it is often written (axum, axum-login, users in SQLite) that has a second factor.
//!
//! `embed-axum CONFIG LISTEN`: a configuration as `countersign init` writes it, and an address and port. `users` is
//! the application as it was, `seam` what it tells the kernel; the rest is here.
mod seam;
mod users;

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header, request::Parts},
    response::{AppendHeaders, IntoResponse, Response},
    routing::{get, post},
};
use axum_login::{AuthManagerLayerBuilder, AuthSession, login_required};
use countersign_host::{
    Kernel,
    embed::{Embedded, Entry},
    http::Failure,
};
use countersign_plugin_api::{Problem, Refusal, Secret};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{env, error::Error, net::SocketAddr, path::PathBuf};
use tokio::net::TcpListener;
use tower_sessions::{MemoryStore, SessionManagerLayer, cookie::SameSite};
use users::{Credentials, Failed, Users};

#[derive(Clone)]
struct App {
    users: Users,
    kernel: Embedded,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let mut words = env::args_os().skip(1);
    let usage = "usage: embed-axum CONFIG LISTEN";
    let config = PathBuf::from(words.next().ok_or(usage)?);
    let listen: SocketAddr = words.next().and_then(|word| word.to_str()?.parse().ok()).ok_or(usage)?;
    let users = Users::open(&config.with_file_name("users.db"))?;

    // README: the kernel
    let kernel = Kernel::configured_by(&config)
        .accounts(users.clone())
        .sessions(seam::LoginSessions(users.clone()))
        .start()
        .await?;
    let app = Router::new()
        .route("/me", get(me))
        .route_layer(login_required!(Users)) // as before: a login that waits for its code is signed out
        .route("/readyz", get(ready))
        .route("/register", post(register))
        .route("/sign-in", post(sign_in))
        .route("/sign-out", post(sign_out))
        .route("/password", post(change_password))
        .nest_service("/api/auth", kernel.routes())
        .with_state(App { users: users.clone(), kernel });
    // README: end

    let sessions = SessionManagerLayer::new(MemoryStore::default())
        .with_name("app-session")
        .with_same_site(SameSite::Lax)
        .with_secure(false); // TLS stands in front of a real one
    let app = app.layer(AuthManagerLayerBuilder::new(users, sessions).build());
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(TcpListener::bind(listen).await?, service).await?;
    Ok(())
}

// README: the login
async fn sign_in(
    State(app): State<App>,
    request: Parts,
    Json(form): Json<Credentials>,
) -> Result<Entry, Failure> {
    // Was: `session.authenticate(form)`, then `session.login(&user)`.
    Ok(app.kernel.login(&request, &form.email, &form.password).await?)
}
// README: end

async fn register(State(app): State<App>, Json(new): Json<Credentials>) -> Result<Response, Failure> {
    let broken = app.kernel.mfa()?.validate_password(&new.password, None).await?;
    if !broken.is_empty() {
        return Err(Refusal::new(Problem::PasswordPolicy).violations(broken).into());
    }
    match app.users.add(&new).map_err(failed)? {
        Some(id) => Ok((StatusCode::CREATED, Json(json!({ "id": id }))).into_response()),
        None => Err(Problem::Conflict.into()),
    }
}

async fn ready(State(app): State<App>) -> Result<StatusCode, Failure> {
    app.kernel.readiness()?;
    Ok(StatusCode::OK)
}

async fn me(session: AuthSession<Users>) -> Result<Json<Value>, StatusCode> {
    let user = session.user.ok_or(StatusCode::UNAUTHORIZED)?;
    Ok(Json(json!({ "id": user.id, "email": user.email })))
}

async fn sign_out(mut session: AuthSession<Users>) -> StatusCode {
    match session.logout().await {
        Ok(_) => StatusCode::NO_CONTENT,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

#[derive(Deserialize)]
struct NewPassword {
    new_password: Secret<String>,
}

async fn change_password(
    State(app): State<App>,
    request: Parts,
    Json(form): Json<NewPassword>,
) -> Result<Response, Failure> {
    let own = app.kernel.stepped_up(&request).await?;
    let id = own.account().id.parse().map_err(|_| Problem::SessionRequired)?;
    let broken = app.kernel.mfa()?.validate_password(&form.new_password, Some(&own)).await?;
    if !broken.is_empty() {
        return Err(Refusal::new(Problem::PasswordPolicy).violations(broken).into());
    }
    app.users.set_password(id, &form.new_password).map_err(failed)?;
    let own = app.kernel.password_changed(&request).await?;
    // The browser stays known to the account.
    let cookie = app.kernel.device_cookie(&own).map(|cookie| (header::SET_COOKIE, cookie));
    Ok((StatusCode::NO_CONTENT, AppendHeaders(cookie)).into_response())
}

fn failed(error: Failed) -> Failure {
    Refusal::new(Problem::StoreUnavailable).because(error).into()
}
