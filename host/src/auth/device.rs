//! Device cookies: a browser that has completed a login is known again. That gives it wrong passwords and mails of
//! its own, so that whoever uses up what strangers have does not keep the owner out, and it gives nothing else.
//!
//! A cookie is `id (16) ‖ expiry (8) ‖ MAC (32)` in base64url. The MAC binds it to the account and to its epoch: a
//! credential event ends it in every browser but the one that it came from. Nothing is stored of it.
use crate::{
    accounts::{self, Account},
    kernel::{Call, HOST, PluginCookie, View},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use countersign_plugin_api::{Context, Draft, Refusal, Secret, SessionMode, Subject, Time};
use std::time::Duration;
use subtle::ConstantTimeEq;

#[cfg(any(fuzzing, test))]
pub(super) mod fuzzing;

const COOKIE: &str = "device";
/// From the last login on.
const LASTS: Duration = Duration::from_hours(180 * 24);
const NOTICE: Duration = Duration::from_hours(24);

/// The account that a browser is known to, the host's own or an application's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) id: &'a str,
    pub(crate) epoch: u64,
}

impl<'a> From<&'a Account> for Owner<'a> {
    fn from(account: &'a Account) -> Self {
        Self { id: &account.id, epoch: account.epoch }
    }
}

impl<'a> From<&'a Subject> for Owner<'a> {
    fn from(subject: &'a Subject) -> Self {
        Self { id: &subject.id, epoch: subject.epoch }
    }
}

/// A browser that an account knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Device(pub(super) [u8; 16]);

impl Device {
    /// The browser that asks, when the account knows it.
    pub(crate) fn of(call: &Call<'_>, owner: Owner<'_>) -> Result<Option<Self>, Refusal> {
        let Some(shown) = shown(call) else { return Ok(None) };
        let right = shown.mac.ct_eq(&mac(call, owner, shown.device, shown.expires_at)?);
        Ok((bool::from(right) && call.now() < shown.expires_at).then_some(shown.device))
    }

    fn new(call: &Call<'_>) -> Self {
        let mut id = [0; 16];
        call.random(&mut id);
        Self(id)
    }

    fn cookie(self, call: &Call<'_>, owner: Owner<'_>) -> Result<PluginCookie, Refusal> {
        let expires_at = call.now() + LASTS;
        let mac = mac(call, owner, self, expires_at)?;
        let value = [&self.0[..], &expires_at.secs().to_be_bytes(), &mac].concat();
        Ok((COOKIE.into(), Secret::new(URL_SAFE_NO_PAD.encode(value)), LASTS))
    }
}

/// A login is complete: its browser is known from now on. The owner is told of one that was not known, unless it
/// is the first of all. A program keeps no cookies, so each of its logins is one from somewhere new.
pub(super) fn welcome(
    call: &Call<'_>,
    mut account: Account,
    mode: SessionMode,
    agent: &str,
) -> Result<Option<PluginCookie>, Refusal> {
    let device = Device::of(call, (&account).into())?;
    if !account.signed_in {
        account.signed_in = true;
        accounts::save(call, &account)?;
    } else if device.is_none() {
        let (name, from) = (name(agent), &call.origin.peer);
        let notice = Draft::notice("new-browser", &account.id, call.now() + NOTICE);
        call.message(&notice.with("browser", &name).with("address", from))?;
    }
    match mode {
        SessionMode::Bearer => Ok(None),
        SessionMode::Cookie => known(call, (&account).into()).map(Some),
    }
}

/// The browser that asks has completed a login: the cookie by which it is known from now on.
pub(crate) fn known(call: &Call<'_>, owner: Owner<'_>) -> Result<PluginCookie, Refusal> {
    Device::of(call, owner)?.unwrap_or_else(|| Device::new(call)).cookie(call, owner)
}

/// After a credential event of the caller's own, which leaves the account as `now`: the browser that it came from
/// stays known.
pub(crate) fn renewed(call: &Call<'_>, now: Owner<'_>) -> Result<Option<PluginCookie>, Refusal> {
    let Some(caller) = call.caller().filter(|caller| caller.subject.id == now.id) else { return Ok(None) };
    if caller.subject.epoch == now.epoch {
        return Ok(None);
    }
    Device::of(call, (&caller.subject).into())?.map(|device| device.cookie(call, now)).transpose()
}

/// The same where accounts are the host's own.
pub(crate) fn renew(call: &Call<'_>) -> Result<Option<PluginCookie>, Refusal> {
    let Some(caller) = call.caller().filter(|_| shown(call).is_some()) else { return Ok(None) };
    let account = accounts::by_id(call, &caller.subject.id)?;
    account.map_or(Ok(None), |account| renewed(call, (&account).into()))
}

/// What a browser shows, before anything is known of it.
struct Shown {
    device: Device,
    expires_at: Time,
    mac: [u8; 32],
}

fn shown(call: &Call<'_>) -> Option<Shown> {
    let (_, cookie) = call.origin.cookies.iter().find(|(name, _)| name == COOKIE)?;
    parse(cookie.expose())
}

fn parse(text: &str) -> Option<Shown> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (id, rest) = bytes.split_first_chunk::<16>()?;
    let (expires_at, mac) = rest.split_first_chunk::<8>()?;
    let secs = u64::from_be_bytes(*expires_at);
    // A time that is later than any is read as the last one there is, and would be a second spelling of that.
    let expires_at = Some(Time::from_secs(secs)).filter(|time| time.secs() == secs)?;
    Some(Shown { device: Device(*id), expires_at, mac: mac.try_into().ok()? })
}

fn mac(call: &Call<'_>, owner: Owner<'_>, device: Device, expires_at: Time) -> Result<[u8; 32], Refusal> {
    let (epoch, until) = (owner.epoch.to_be_bytes(), expires_at.secs().to_be_bytes());
    View { call, plugin: HOST }.mac(&[b"device", owner.id.as_bytes(), &epoch, &device.0, &until])
}

/// How a browser calls itself, fit for a mail.
fn name(agent: &str) -> String {
    let shown: String = agent.chars().filter(|character| !character.is_control()).take(100).collect();
    if shown.trim().is_empty() { "a program without a name".into() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_one_form() {
        let bytes = [&[7; 16][..], &1000_u64.to_be_bytes(), &[7; 32]].concat();
        let text = URL_SAFE_NO_PAD.encode(&bytes);
        assert!(parse(&text).is_some_and(|shown| shown.device == Device([7; 16]) && shown.mac == [7; 32]));
        let longer = URL_SAFE_NO_PAD.encode([&bytes[..], &[7]].concat());
        let later_than_any = URL_SAFE_NO_PAD.encode([255; 56]);
        for wrong in ["", "x", &text[1..], &format!("{text}="), &longer, &later_than_any] {
            assert!(parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_bounded_and_on_one_line() {
        assert_eq!(name("Firefox\t/\u{7f}1"), "Firefox/1");
        assert_eq!(name(" \t"), "a program without a name");
        assert_eq!(name(&"x".repeat(500)).len(), 100);
    }
}
