//! A page's file: a head in TOML between two lines `---`, and a template.
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a page says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Head {
    /// Where it stands; without one it is a part.
    pub(super) path: Option<String>,
    /// The path of the page that it is a part of.
    pub(super) part_of: Option<String>,
    /// Whether it stands at no path: what a route answers with, or what is shown instead of a page. It loads nothing
    /// that it cannot do without.
    pub(super) alone: bool,
    pub(super) access: Access,
    /// Whether whoever has a second factor must have proven it just now.
    pub(super) fresh: bool,
    /// Whether it is there only where mail is sent.
    pub(super) mail: bool,
    /// Its place among the settings, if it is one of them.
    pub(super) nav: Option<u8>,
    /// The parameters of the query that the template is given.
    pub(super) query: Vec<String>,
    /// `GET` routes of the API by the names under which the template has their answers. A parameter of the query in
    /// braces is filled in.
    pub(super) read: BTreeMap<String, String>,
    pub(super) form: BTreeMap<String, Form>,
}

/// Who sees a page. What it reads and posts has an access of its own, which the API checks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Access {
    /// Anyone.
    #[default]
    Anyone,
    /// Whoever is not signed in.
    SignedOut,
    /// Whoever has yet to prove a second factor.
    Pending,
    /// Whoever is signed in, also when a second factor must be set up first.
    Enrolling,
    /// Whoever is signed in, and policy is content with.
    Session,
}

/// A form: where it goes, with which fields, and what follows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Form {
    post: Option<String>,
    delete: Option<String>,
    #[serde(default)]
    pub(super) fields: BTreeMap<String, Field>,
    /// Where it leads: `next`, or a path; the page itself without it.
    pub(super) then: Option<String>,
    /// The text that is shown there.
    pub(super) say: Option<String>,
    /// When the answer has this member, the page is shown with the answer at once, and never again.
    pub(super) show: Option<String>,
    /// The field that a problem is about, by its slug.
    #[serde(default)]
    pub(super) blame: BTreeMap<String, String>,
}

/// How a field of a form becomes a member of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Field {
    /// As it is; shown again when there was a problem.
    Text,
    /// The same, and left out when it is empty.
    Optional,
    /// As it is, and never shown again.
    Secret,
    /// Without the spaces and dashes that people put between digits.
    Code,
    /// A box: true when it is ticked.
    Flag,
    /// What stands for `{id}` in the path, and not in the body.
    Path,
    /// Nothing for the API: kept for the template.
    Keep,
}

impl Form {
    /// The method and the path below `/api/auth`.
    pub(super) fn route(&self) -> Option<(&'static str, &str)> {
        match (&self.post, &self.delete) {
            (Some(path), None) => Some(("POST", path)),
            (None, Some(path)) => Some(("DELETE", path)),
            _ => None,
        }
    }
}

/// A file, taken apart.
pub(super) struct File {
    pub(super) head: Head,
    /// The template. The lines of the head are empty in it, so that its lines are those of the file.
    pub(super) template: String,
}

const FENCE: &str = "---\n";

impl File {
    /// Reads a file. What is wrong with it comes with its line.
    pub(super) fn parse(source: &str) -> Result<Self, (usize, String)> {
        let Some(rest) = source.strip_prefix(FENCE) else {
            return Ok(Self { head: Head::default(), template: source.into() });
        };
        let end = rest.find("\n---\n").ok_or((1, "the head has no end: a line `---`".to_owned()))?;
        let (head, template) = (&rest[..=end], &rest[end + 1 + FENCE.len()..]);
        let line = |at: usize| 2 + head[..at.min(head.len())].matches('\n').count();
        let head: Head = toml::from_str(head)
            .map_err(|error| (error.span().map_or(2, |span| line(span.start)), error.message().to_owned()))?;
        let lines = "\n".repeat(line(usize::MAX));
        let file = Self { head, template: format!("{lines}{template}") };
        file.head.check().map_err(|why| (1, why))?;
        Ok(file)
    }
}

impl Head {
    fn check(&self) -> Result<(), String> {
        if [self.path.is_some(), self.part_of.is_some(), self.alone].iter().filter(|said| **said).count() > 1
        {
            return Err("`path` makes it a page, `part_of` a part, `alone` an answer: give one".into());
        }
        for (name, form) in &self.form {
            let (_, path) = form.route().ok_or(format!("form.{name}: give `post` or `delete`"))?;
            let takes_id = form.fields.values().filter(|field| **field == Field::Path).count();
            if takes_id != path.matches("{id}").count() {
                return Err(format!("form.{name}: one field of kind `path` for `{{id}}` in `{path}`"));
            }
            if let Some(field) = form.blame.values().find(|field| !form.fields.contains_key(*field)) {
                return Err(format!("form.{name}: `blame` names `{field}`, which is no field of it"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_head_and_a_template_with_the_lines_of_the_file() {
        let file = File::parse("---\npath = \"/x\"\naccess = \"session\"\n---\n{{ a }}\n").expect("a page");
        assert_eq!((file.head.path.as_deref(), file.head.access), (Some("/x"), Access::Session));
        assert_eq!(file.template, "\n\n\n\n{{ a }}\n");
        let plain = File::parse("<p>").expect("a part");
        assert_eq!((plain.head.path, plain.template.as_str()), (None, "<p>"));
    }

    #[test]
    fn what_is_wrong_comes_with_its_line() {
        for (source, line, says) in [
            ("---\npath = \"/x\"\n", 1, "no end"),
            ("---\npath = \"/x\"\naccess = \"everybody\"\n---\n", 3, "unknown variant"),
            ("---\n\nlook = 1\n---\n", 3, "unknown field"),
            ("---\npath = \"/x\"\npart_of = \"/\"\n---\n", 1, "give one"),
            ("---\npath = \"/x\"\nalone = true\n---\n", 1, "give one"),
            ("---\npath = \"/x\"\nform.a.say = \"b\"\n---\n", 1, "`post` or `delete`"),
            ("---\npath = \"/x\"\nform.a.delete = \"/a/{id}\"\n---\n", 1, "kind `path`"),
            ("---\npath = \"/x\"\n[form.a]\npost = \"/a\"\nblame.conflict = \"b\"\n---\n", 1, "no field"),
        ] {
            let (at, why) = File::parse(source).err().unwrap_or_else(|| panic!("{source}"));
            assert_eq!(at, line, "{source}: {why}");
            assert!(why.contains(says), "{why}");
        }
    }
}
