//! The pages that a mailed link opens. They load nothing, send no referrer and work without scripts; a page
//! that is only looked at, as mail scanners do, changes nothing.

/// Asks whether to sign in. `again` when the browser is not the one that asked for the link.
pub(crate) fn confirm(email: &str, token: &str, again: bool) -> String {
    let (email, token) = (escaped(email), escaped(token));
    let (text, field, button) = if again {
        (
            "This is not the browser in which the link was asked for. If it was somebody else who sent it to you, \
             close this page: you would be signed in to their account.",
            r#"<input type="hidden" name="confirm" value="yes">"#,
            "Sign in here all the same",
        )
    } else {
        ("The link works once.", "", "Sign in")
    };
    document(
        "Sign in",
        &format!(
            r#"<p>You are about to sign in as <strong>{email}</strong>.</p>
<p>{text}</p>
<form method="post" action="verify">
<input type="hidden" name="token" value="{token}">{field}
<button type="submit">{button}</button>
</form>"#
        ),
    )
}

/// Says that a link is not valid, whatever is wrong with it.
pub(crate) fn invalid() -> String {
    document(
        "The link is not valid",
        "<p>It was used, has expired, or a newer one was sent. Ask for a new one where you sign in.</p>",
    )
}

fn document(title: &str, body: &str) -> String {
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="referrer" content="no-referrer">
<meta name="robots" content="noindex">
<title>{title}</title>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"#
    )
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_become_part_of_the_page() {
        let page = confirm(r#""<b>'&"@example.org"#, r#""><script>"#, false);
        assert!(page.contains("&quot;&lt;b&gt;&#39;&amp;&quot;@example.org"), "{page}");
        assert!(page.contains(r#"value="&quot;&gt;&lt;script&gt;""#), "{page}");
    }

    #[test]
    fn nothing_is_loaded_and_only_its_own_path_is_posted_to() {
        for page in [confirm("a@example.org", "t", false), confirm("a@example.org", "t", true), invalid()] {
            for outside in ["http", "src=", "href=", "style", "<script", "url("] {
                assert!(!page.contains(outside), "{outside} in {page}");
            }
            assert!(page.matches("action=").all(|_| page.contains(r#"action="verify""#)));
        }
    }
}
