//! `cargo xtask site`: the documentation as a folder of HTML, without JavaScript and without anything from elsewhere.
use crate::project::{root, target_dir};
use anyhow::{Context, Result};
use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};
use std::{
    fmt::Write as _,
    fs,
    path::{Component, Path, PathBuf},
};

/// The chapters of the navigation, and in which folder their pages lie; some first, the rest by name.
const CHAPTERS: [(&str, &str, &[&str]); 3] = [
    ("Countersign", "", &["README", "SECURITY", "ARCHITECTURE", "CONTRIBUTING", "CHANGELOG"]),
    ("Guides", "docs", &["getting-started", "configuration", "operating", "faq", "threat-model"]),
    ("Decisions", "docs/adr", &[]),
];

/// A page: where it lies, relative to the root, what it is called, and what it says.
struct Page {
    path: PathBuf,
    title: String,
    text: String,
}

/// Renders everything into `target/site`.
pub fn run() -> Result<()> {
    let out = target_dir()?.join("site");
    let pages = render(&out)?;
    println!("{} pages: {}", pages.len(), out.join("index.html").display());
    Ok(())
}

/// Renders all pages into a folder, which begins empty, and answers what it wrote, relative to it.
pub fn render(out: &Path) -> Result<Vec<PathBuf>> {
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot remove {}", out.display()))?;
    }
    let chapters: Vec<(&str, Vec<Page>)> = CHAPTERS
        .iter()
        .map(|(name, folder, first)| Ok((*name, pages(folder, first)?)))
        .collect::<Result<_>>()?;
    let mut written = Vec::new();
    for page in chapters.iter().flat_map(|(_, pages)| pages) {
        let path = target(&page.path);
        let site = Site { out, page };
        write(&out.join(&path), site.document(&chapters)?.as_bytes())?;
        written.push(path);
    }
    write(&out.join("site.css"), include_bytes!("site.css"))?;
    Ok(written)
}

/// How a heading is spelled in a link, as forges do it.
pub fn anchor(heading: &str) -> String {
    let lower = heading.trim().to_lowercase();
    let kept = lower.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn pages(folder: &str, first: &[&str]) -> Result<Vec<Page>> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(root().join(folder)).with_context(|| format!("no folder {folder}"))? {
        let name = PathBuf::from(entry?.file_name());
        if name.extension().is_some_and(|extension| extension == "md") {
            let path = Path::new(folder).join(name);
            let text = fs::read_to_string(root().join(&path))?;
            let heading = text.lines().find_map(|line| line.strip_prefix("# "));
            let title = heading.with_context(|| format!("{} has no heading", path.display()))?;
            pages.push(Page { title: title.replace('`', ""), path, text });
        }
    }
    let place = |page: &Page| {
        let stem = page.path.file_stem().unwrap_or_default().to_string_lossy();
        (first.iter().position(|name| *name == stem).unwrap_or(first.len()), page.path.clone())
    };
    pages.sort_by_key(place);
    Ok(pages)
}

/// Where a page goes.
fn target(page: &Path) -> PathBuf {
    if page == Path::new("README.md") { "index.html".into() } else { page.with_extension("html") }
}

/// One page on its way into the site.
struct Site<'a> {
    out: &'a Path,
    page: &'a Page,
}

impl Site<'_> {
    fn document(&self, chapters: &[(&str, Vec<Page>)]) -> Result<String> {
        let mut nav = String::new();
        for (name, pages) in chapters {
            let _ = write!(nav, "<h2>{name}</h2><ul>");
            for page in pages {
                let current = if page.path == self.page.path { " aria-current=\"page\"" } else { "" };
                let href = self.relative(&target(&page.path));
                let _ = write!(nav, "<li><a href=\"{href}\"{current}>{}</a></li>", escaped(&page.title));
            }
            nav.push_str("</ul>");
        }
        let (title, css) = (escaped(&self.page.title), self.relative(Path::new("site.css")));
        let body = self.body()?;
        Ok(format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
             <link rel=\"stylesheet\" href=\"{css}\"></head>\n\
             <body><a class=\"to-pages\" href=\"#pages\">All pages</a>\n\
             <nav id=\"pages\" aria-label=\"Pages\">{nav}</nav>\n<main>{body}</main></body></html>\n"
        ))
    }

    fn body(&self) -> Result<String> {
        let events = Parser::new_ext(&self.page.text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH);
        let mut events: Vec<Event<'_>> = events.collect();
        let mut is_dropped = false;
        for at in 0..events.len() {
            let heading =
                matches!(events[at], Event::Start(Tag::Heading { .. })).then(|| words(&events[at..]));
            match &mut events[at] {
                Event::Start(Tag::Heading { id, .. }) => *id = heading.map(|text| anchor(&text).into()),
                Event::Start(Tag::Image { dest_url, .. }) => self.copy(dest_url)?,
                Event::Start(Tag::Link { dest_url, .. }) => match self.link(dest_url) {
                    Some(href) => *dest_url = href.into(),
                    // What is no page, such as a source file: its name stays, and leads nowhere.
                    None => {
                        is_dropped = true;
                        events[at] = Event::Text(CowStr::Borrowed(""));
                    }
                },
                Event::End(TagEnd::Link) if std::mem::take(&mut is_dropped) => {
                    events[at] = Event::Text(CowStr::Borrowed(""));
                }
                _ => {}
            }
        }
        let mut body = String::new();
        html::push_html(&mut body, events.into_iter());
        Ok(body)
    }

    /// Where a link of the page leads in the site, if it leads to a page or elsewhere.
    fn link(&self, to: &str) -> Option<String> {
        if to.contains("://") || to.starts_with('#') {
            return Some(to.to_owned());
        }
        let (file, anchor) = to.split_once('#').map_or((to, None), |(file, anchor)| (file, Some(anchor)));
        let file = plain(&self.folder().join(file));
        let is_page = file.extension().is_some_and(|extension| extension == "md");
        let is_ours = CHAPTERS.iter().any(|(_, folder, _)| file.parent() == Some(Path::new(folder)));
        if !is_page || !is_ours {
            return None;
        }
        let anchor = anchor.map_or(String::new(), |anchor| format!("#{anchor}"));
        Some(format!("{}{anchor}", self.relative(&target(&file))))
    }

    /// A picture goes beside the pages, under the path that it has.
    fn copy(&self, picture: &str) -> Result<()> {
        let path = plain(&self.folder().join(picture));
        let bytes = fs::read(root().join(&path)).with_context(|| format!("no picture {}", path.display()))?;
        write(&self.out.join(path), &bytes)
    }

    fn folder(&self) -> &Path {
        self.page.path.parent().unwrap_or(Path::new(""))
    }

    /// From this page to a file of the site.
    fn relative(&self, file: &Path) -> String {
        let up = "../".repeat(self.folder().components().count());
        format!("{up}{}", file.display())
    }
}

/// What a heading says, which the first of these events begins.
fn words(events: &[Event<'_>]) -> String {
    let inside = events.iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
    let texts = inside.filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(&**text),
        _ => None,
    });
    texts.collect()
}

/// A path without `..`, which the links of the pages need.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    plain
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}
