//! The files that pages load: one style sheet, one script, a logo. Their names hold a hash of what they are, so
//! that browsers keep them for good.
use crate::{config::Accent, kernel::hex};
use axum::{
    body::Body,
    http::{HeaderValue, Response, header},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use std::{fs, path::Path};

const FOLDER: &str = "/assets/";
/// A logo is small.
const MAX_LOGO: u64 = 256 << 10;

/// A file that never changes under its name.
pub(super) struct Asset {
    pub(super) path: String,
    media: &'static str,
    bytes: Vec<u8>,
}

impl Asset {
    fn new(stem: &str, extension: &str, media: &'static str, bytes: Vec<u8>) -> Self {
        let hash = hex(&Sha256::digest(&bytes)[..8]);
        Self { path: format!("{FOLDER}{stem}.{hash}.{extension}"), media, bytes }
    }

    pub(super) fn style(sheet: String) -> Self {
        Self::new("pages", "css", "text/css; charset=utf-8", sheet.into_bytes())
    }

    pub(super) fn script() -> Self {
        let script = include_str!("built-in/pages.js");
        Self::new("pages", "js", "text/javascript; charset=utf-8", script.into())
    }

    /// A picture of the operator's.
    pub(super) fn logo(file: &Path) -> Result<Self, String> {
        let said = |why: &dyn std::fmt::Display| format!("[pages] logo = \"{}\": {why}", file.display());
        let extension = file.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let media = match extension {
            "svg" => "image/svg+xml",
            "png" => "image/png",
            "webp" => "image/webp",
            _ => return Err(said(&"it must be an .svg, a .png or a .webp file")),
        };
        let length = fs::metadata(file).map_err(|error| said(&error))?.len();
        if length > MAX_LOGO {
            return Err(said(&format_args!("it has {length} bytes, and 256 KiB is the most")));
        }
        let bytes = fs::read(file).map_err(|error| said(&error))?;
        Ok(Self::new("logo", extension, media, bytes))
    }

    pub(super) fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.bytes.clone()));
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, self.media),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}

/// The style sheet, in the colours that are made of the accent.
pub(super) fn sheet(accent: Accent) -> String {
    let (light, dark) = shades(accent);
    let colours = format!(":root{{--accent-light:{};--accent-dark:{}}}\n", css(light), css(dark));
    colours + include_str!("built-in/pages.css")
}

/// What a policy says of a style sheet that stands in the page (CSP Level 3, 2.3.1).
pub(super) fn hash(sheet: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(sheet)))
}

/// What links and buttons stand on, at their palest and darkest: `--ground` of the style sheet.
const LIGHT: Accent = Accent([0xf4, 0xf5, 0xf7]);
const DARK: Accent = Accent([0x1d, 0x21, 0x28]);
/// WCAG 2.2, 1.4.3 (AA), with a little to spare.
const CONTRAST: f64 = 4.6;

/// The accent as dark as a light page needs it, and as light as a dark one does: whatever colour an operator
/// chooses, what is written in it or on it can be read.
fn shades(accent: Accent) -> (Accent, Accent) {
    let towards = |goal: u8, ground| {
        let mixed = (0..=100).map(|percent| mix(accent, goal, percent));
        mixed.into_iter().find(|shade| contrast(*shade, ground) >= CONTRAST).unwrap_or(Accent([goal; 3]))
    };
    (towards(0, LIGHT), towards(255, DARK))
}

fn mix(Accent(colour): Accent, goal: u8, percent: u16) -> Accent {
    Accent(colour.map(|part| {
        let mixed = (u16::from(part) * (100 - percent) + u16::from(goal) * percent) / 100;
        u8::try_from(mixed).unwrap_or(u8::MAX)
    }))
}

/// WCAG 2.2, "contrast ratio" and "relative luminance".
fn contrast(a: Accent, b: Accent) -> f64 {
    let luminance = |Accent(colour): Accent| {
        let [r, g, b] = colour.map(|part| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn css(Accent(colour): Accent) -> String {
    format!("#{}", hex(&colour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_that_of_wcag() {
        let (black, white, grey) = (Accent([0; 3]), Accent([255; 3]), Accent([0x77; 3]));
        assert!((contrast(black, white) - 21.0).abs() < 1e-9);
        assert!((contrast(grey, white) - 4.478).abs() < 0.001);
    }

    #[test]
    fn any_accent_can_be_read_on_both_grounds() {
        for accent in [[0; 3], [255; 3], [255, 255, 0], [0, 0, 255], [255, 0, 0], [0x80; 3], [1, 200, 90]] {
            let (light, dark) = shades(Accent(accent));
            assert!(contrast(light, LIGHT) >= 4.5 && contrast(light, Accent([255; 3])) >= 4.5, "{accent:?}");
            assert!(contrast(dark, DARK) >= 4.5, "{accent:?}");
        }
        // One that can be read is left as it is.
        assert_eq!(shades(Accent([0x0b, 0x5f, 0x8a])).0, Accent([0x0b, 0x5f, 0x8a]));
    }

    #[test]
    fn the_grounds_are_those_of_the_style_sheet() {
        let sheet = include_str!("built-in/pages.css");
        for ground in [LIGHT, DARK] {
            assert!(sheet.contains(&css(ground)), "{}", css(ground));
        }
    }

    #[test]
    fn a_name_changes_with_what_is_in_the_file() {
        let name = |accent| Asset::style(sheet(Accent(accent))).path;
        assert_ne!(name([0; 3]), name([0, 0, 255]));
        assert_eq!(name([0; 3]), name([0; 3]));
        assert!(name([0; 3]).starts_with("/assets/pages."), "{}", name([0; 3]));
    }
}
