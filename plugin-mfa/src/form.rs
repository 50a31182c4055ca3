//! Bodies of forms (WHATWG URL, 5.1): the one that a mailed link's page posts.
use countersign_plugin_api::{Refusal, Request, Secret};

/// The fields of a form, in the order of `names`. One that is not among them, comes twice, or does not decode
/// is refused, as it is in JSON.
pub(crate) fn fields<const N: usize>(
    request: &Request<'_>,
    names: [&str; N],
) -> Result<[Option<Secret<String>>; N], Refusal> {
    let mut fields = [const { None }; N];
    for pair in request.body().split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        };
        let at = names.iter().position(|known| known.as_bytes() == name);
        let at = at.ok_or_else(|| Refusal::malformed("the form has a field that is not known"))?;
        let value = decoded(value, true).ok_or_else(|| Refusal::malformed("the form does not decode"))?;
        if fields[at].replace(value).is_some() {
            return Err(Refusal::malformed("the form has a field twice"));
        }
    }
    Ok(fields)
}

/// Percent-decoded text; in forms and queries a plus sign is a space, in a path it is one.
pub(crate) fn decoded(text: &[u8], plus_is_space: bool) -> Option<Secret<String>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' if plus_is_space => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? << 4 | digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<[Option<String>; 2]> {
        let request = Request::new("POST", "/x", body.as_bytes());
        let fields = fields(&request, ["token", "confirm"]).ok()?;
        Some(fields.map(|field| field.map(|value| value.expose().clone())))
    }

    #[test]
    fn fields_decode_and_nothing_is_guessed() {
        let some = |text: &str| Some(text.to_owned());
        for (body, fields) in [
            ("", Some([None, None])),
            ("token=v1.a-b_c", Some([some("v1.a-b_c"), None])),
            ("confirm=yes&token=a%2Bb+c%C3%BC", Some([some("a+b cü"), some("yes")])),
            ("token", Some([some(""), None])),
            ("token=a&token=b", None),
            ("other=a", None),
            ("tok%65n=a", None),
            ("token=%", None),
            ("token=%2", None),
            ("token=%+2", None),
            ("token=%ff", None),
        ] {
            assert_eq!(read(body), fields, "{body}");
        }
    }

    #[test]
    fn a_form_says_that_it_is_one() {
        for (media, form) in [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-Urlencoded ; charset=utf-8", true),
            ("application/json", false),
            ("text/plain", false),
        ] {
            let request = Request::new("POST", "/x", b"").with_header("content-type", media.as_bytes());
            assert_eq!(request.is_form(), form, "{media}");
        }
        assert!(!Request::new("POST", "/x", b"").is_form());
    }
}
