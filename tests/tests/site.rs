//! `cargo xtask site`: every page is there, no link is broken, and nothing is fetched from elsewhere.
use countersign_tests::markdown::pages;
use std::{fs, path::Path};
use xtask::site;

/// The values of an attribute.
fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    html.split(&start).skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect()
}

#[test]
fn every_page_renders_and_no_link_is_broken() {
    let out = tempfile::tempdir().expect("a folder");
    let written = site::render(out.path()).expect("it renders");
    for page in pages() {
        let page =
            if page == Path::new("README.md") { "index.html".into() } else { page.with_extension("html") };
        assert!(written.contains(&page), "{} is missing", page.display());
    }
    let mut links = 0;
    for page in &written {
        let file = out.path().join(page);
        let html = fs::read_to_string(&file).expect("a page");
        assert!(html.contains("<h1 id=") && !html.contains("<script"), "{}", page.display());
        // The first is that of the style.
        let (pictures, hrefs) = (values(&html, "src"), values(&html, "href"));
        let fetched = pictures.iter().chain(hrefs.first());
        for address in fetched {
            assert!(!address.contains("//"), "{} fetches {address}", page.display());
        }
        for href in hrefs.iter().chain(&pictures).filter(|href| !href.contains("://")) {
            links += 1;
            let (to, anchor) = href.split_once('#').unwrap_or((href, ""));
            let to = if to.is_empty() { file.clone() } else { file.parent().expect("a folder").join(to) };
            assert!(to.is_file(), "{} links to {href}", page.display());
            let is_there = || values(&fs::read_to_string(&to).expect("a page"), "id").contains(&anchor);
            assert!(anchor.is_empty() || is_there(), "{} links to {href}: no such heading", page.display());
        }
    }
    assert!(links > 200, "{links} links");
}
