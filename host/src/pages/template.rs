//! What templates can do: functions, filters, and the rules that they are rendered by.
use super::{
    flow::location,
    texts::{Texts, filled},
};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value, value::Kwargs};
use qrcode::{EcLevel, QrCode, render::svg};
use std::sync::Arc;

/// An environment without templates.
pub(super) fn environment(texts: Arc<Texts>) -> Environment<'static> {
    let mut environment = Environment::new();
    // A name that is misspelt is an error, not an empty place; what may be missing is asked for with `if`.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    let said = Arc::clone(&texts);
    environment.add_function("t", move |state: &State<'_, '_>, key: &str, places: Kwargs| {
        let text = text(&said, state, key).ok_or_else(|| {
            Error::new(ErrorKind::InvalidOperation, format!("no catalogue has the text `{key}`"))
        })?;
        let text = filled(text, |place| places.get::<Value>(place).ok().map(|value| value.to_string()));
        places.assert_all_used().map(|()| text)
    });
    environment
        .add_function("has_text", move |state: &State<'_, '_>, key: &str| text(&texts, state, key).is_some());
    environment.add_function("hidden", hidden);
    environment.add_function("to", to);
    environment.add_filter("when", when);
    environment.add_filter("browser", |agent: &Value| browser(&agent.to_string()));
    environment.add_filter("qr", |text: &Value| qr(&text.to_string()));
    environment.add_filter("groups", |text: &Value| groups(&text.to_string()));
    environment
}

fn text<'t>(texts: &'t Texts, state: &State<'_, '_>, key: &str) -> Option<&'t str> {
    let locale = state.lookup("lang");
    texts.get(locale.as_ref().and_then(Value::as_str).unwrap_or_default(), key)
}

/// A path that carries on where the visitor is going.
fn to(state: &State<'_, '_>, path: &str) -> String {
    location(path, state.lookup("next").as_ref().and_then(Value::as_str), None)
}

/// The fields that a form carries unseen: its name, and where its visitor is going.
fn hidden(state: &State<'_, '_>, form: &str) -> Value {
    let mut html = field("form", form);
    if let Some(next) = state.lookup("next").as_ref().and_then(Value::as_str) {
        html.push_str(&field("next", next));
    }
    Value::from_safe_string(html)
}

fn field(name: &str, value: &str) -> String {
    format!(r#"<input type="hidden" name="{name}" value="{}">"#, escaped(value))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A time of the API as people read it, in UTC; the script shows it by the browser's clock.
fn when(time: &Value) -> Value {
    let time = time.to_string();
    let shown = match (time.get(..10), time.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => time.clone(),
    };
    let (time, shown) = (escaped(&time), escaped(&shown));
    Value::from_safe_string(format!(r#"<time datetime="{time}">{shown}</time>"#))
}

/// A browser in two words, from what it says of itself. It says what it likes, so this is a hint to its owner.
fn browser(agent: &str) -> String {
    let first = |known: &[(&str, &'static str)]| {
        known.iter().find(|(word, _)| agent.contains(word)).map(|(_, name)| *name)
    };
    // Most say that they are several: the most particular word comes first.
    let name = first(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser", "Samsung Internet"),
        ("Firefox/", "Firefox"),
        ("FxiOS", "Firefox"),
        ("CriOS", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = first(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    match (name, system) {
        (Some(name), Some(system)) => format!("{name}, {system}"),
        (Some(name), None) => name.into(),
        _ => agent.chars().filter(|character| !character.is_control()).take(60).collect(),
    }
}

/// A text as a QR code, with the quiet zone that scanners want, in a drawing that scales. Nothing for one that no code
/// holds, which a form can send back.
fn qr(text: &str) -> Value {
    let code = QrCode::with_error_correction_level(text, EcLevel::M)
        .or_else(|_| QrCode::with_error_correction_level(text, EcLevel::L));
    let Ok(code) = code else { return Value::from("") };
    let drawing = code.render::<svg::Color<'_>>().min_dimensions(256, 256).build();
    // Without the XML declaration it can stand inside a page.
    let start = drawing.find("<svg").unwrap_or_default();
    Value::from_safe_string(drawing[start..].replacen(
        "<svg",
        r#"<svg role="img" aria-labelledby="qr-label""#,
        1,
    ))
}

/// A long key in groups of four, which are easier to type.
fn groups(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let groups: Vec<String> = characters.chunks(4).map(|group| group.iter().collect()).collect();
    groups.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{super::texts::Keys, *};
    use minijinja::context;

    fn rendered(template: &str, context: Value) -> Result<String, Error> {
        let mut texts = Texts::default();
        texts.add("en.toml", "en", "a = \"x {b}\"", Keys::New("")).expect("a catalogue");
        environment(Arc::new(texts)).render_named_str("x.html", template, context)
    }

    #[test]
    fn what_fills_a_text_is_escaped_and_a_text_that_is_not_there_is_an_error() {
        let lang = || context!(lang => "en", v => "<b>");
        assert_eq!(rendered("{{ t('a', b=v) }}", lang()).expect("a text"), "x &lt;b&gt;");
        assert!(rendered("{{ t('c') }}", lang()).is_err());
        assert!(rendered("{{ t('a', b=v, c=v) }}", lang()).is_err(), "a place that the text does not have");
        assert!(rendered("{{ nothing }}", lang()).is_err());
    }

    /// What stands in a piece is said in the language of the page that uses it, and carries on where it goes.
    #[test]
    fn pieces_know_of_the_page_that_they_are_in() {
        let mut texts = Texts::default();
        texts.add("en.toml", "en", "a = \"x\"", Keys::New("")).expect("a catalogue");
        texts.add("de.toml", "de", "a = \"y\"", Keys::Known).expect("a catalogue");
        let mut environment = environment(Arc::new(texts));
        let piece = "{% macro m() %}{{ t('a') }}{{ hidden('f') }}{% endmacro %}";
        environment.add_template("ui.html", piece).expect("a piece");
        let page = "{% import 'ui.html' as ui %}{{ ui.m() }}";
        let html = environment.render_named_str("x.html", page, context!(lang => "de", next => "/z"));
        let html = html.expect("a page");
        assert!(html.starts_with('y') && html.contains("value=\"/z\""), "{html}");
    }

    #[test]
    fn hidden_fields_cannot_break_out() {
        let html = rendered("{{ hidden('f') }}", context!(next => "/\"><script>")).expect("fields");
        assert!(html.contains(r#"value="/&quot;&gt;&lt;script&gt;""#), "{html}");
        assert!(!rendered("{{ hidden('f') }}", context!(next => ())).expect("fields").contains("next"));
    }

    #[test]
    fn a_time_and_a_key_are_shown_for_people() {
        let html = rendered("{{ '2026-11-22T09:30:12Z'|when }}", context!()).expect("a time");
        assert_eq!(html, r#"<time datetime="2026-11-22T09:30:12Z">2026-11-22 09:30 UTC</time>"#);
        assert_eq!(groups("ABCDEFGHIJ"), "ABCD EFGH IJ");
        assert!(rendered("{{ 'otpauth://x'|qr }}", context!()).expect("a drawing").starts_with("<svg role"));
        let endless = context!(uri => "x".repeat(5000));
        assert_eq!(rendered("{{ uri|qr }}", endless).expect("no drawing"), "");
    }

    #[test]
    fn browsers_are_told_apart() {
        for (agent, name) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36",
                "Chrome, Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/130.0 Safari/537.36 Edg/130.0",
                "Edge, Windows",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Version/18.0 Mobile Safari/604.1",
                "Safari, iPhone",
            ),
            ("Mozilla/5.0 (Android 14; Mobile; rv:130.0) Gecko/130.0 Firefox/130.0", "Firefox, Android"),
            ("curl/8.9", "curl/8.9"),
            ("", ""),
        ] {
            assert_eq!(browser(agent), name);
        }
    }
}
