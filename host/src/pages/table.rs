//! All pages, put together when the host starts, and refused with every fault there is.
use super::{
    Fault,
    file::{Access, File, Form, Head},
    look::{self, Asset},
    rehearsal, replace, template,
    texts::{ENGLISH, Keys, Texts},
};
use crate::{
    config::{PagesConfig, Registration},
    openapi,
};
use axum::body::Bytes;
use countersign_plugin_api::Refusal;
use minijinja::{Environment, Value, value::Serde};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
};

macro_rules! built_in {
    ($($name:literal),* $(,)?) => {
        /// The host's own, in the order in which they were written.
        const BUILT_IN: &[(&str, &str)] = &[$(($name, include_str!(concat!("built-in/", $name, ".html"))),)*];
    };
}
built_in![
    "layout",
    "ui",
    "error",
    "openapi",
    "home",
    "login",
    "register",
    "step-up",
    "password-forgot",
    "password-reset",
    "email-verify",
    "settings-password",
    "settings-sessions",
];

/// The template of the description.
pub(super) const REFERENCE: &str = "openapi.html";

/// Where the host itself stands.
const TAKEN: [&str; 5] = ["/api", "/assets", "/openapi", "/healthz", "/readyz"];

/// What a plugin brings: sources by name, and by locale.
pub(crate) struct Offered {
    pub(crate) plugin: String,
    pub(crate) pages: Vec<(String, String)>,
    pub(crate) texts: Vec<(String, String)>,
}

/// What pages are made for.
pub(crate) struct Setting<'a> {
    pub(crate) config: &'a PagesConfig,
    /// Whether pages stand at their paths. Those that stand alone are there all the same: mailed links lead to them.
    pub(crate) served: bool,
    pub(crate) registration: Registration,
    pub(crate) sends_mail: bool,
    /// Whether the API has a route of that method and path.
    pub(crate) has_route: &'a dyn Fn(&str, &str) -> bool,
    /// Whether the description of the interface is shown.
    pub(crate) openapi: bool,
}

/// A page as it is served.
pub(super) struct Page {
    /// Empty when it stands alone.
    pub(super) path: String,
    pub(super) template: String,
    /// What the keys of its texts start with.
    pub(super) base: String,
    pub(super) access: Access,
    pub(super) fresh: bool,
    pub(super) query: Vec<String>,
    pub(super) reads: Vec<(String, String)>,
    /// By name, each with the base of the file that it comes from.
    pub(super) forms: BTreeMap<String, (Form, String)>,
    pub(super) parts: Vec<String>,
    nav: Option<u8>,
}

impl Page {
    pub(super) fn is_alone(&self) -> bool {
        self.path.is_empty()
    }
}

/// All pages, frozen.
pub(crate) struct Pages {
    pub(super) templates: Environment<'static>,
    pub(super) texts: Arc<Texts>,
    pub(super) site: Value,
    /// The style sheet, as pages that stand alone carry it, and what a policy says of it.
    pub(super) style: Value,
    pub(super) style_hash: String,
    /// By template.
    alone: BTreeMap<String, Page>,
    by_path: BTreeMap<String, Page>,
    assets: BTreeMap<String, Asset>,
    /// The texts that a location may ask for.
    said: BTreeSet<String>,
    /// The settings, in order: where they stand, and what the keys of their texts start with.
    nav: Vec<(String, String)>,
    /// The page of the description, by locale: the same for everybody, so it is made once, when it is first looked at.
    reference: BTreeMap<String, OnceLock<Bytes>>,
}

impl Pages {
    /// Everything that a start would refuse of pages, as far as it can be known without plugins.
    pub(crate) fn check(config: &PagesConfig) -> Vec<String> {
        let setting = Setting {
            config,
            served: true,
            registration: Registration::Open,
            sends_mail: true,
            has_route: &|_, _| true,
            openapi: false,
        };
        Self::load(&setting, None).err().unwrap_or_default()
    }

    /// The pages of the host and of its plugins, or every reason why there are none.
    pub(crate) fn new(setting: &Setting<'_>, offered: &[Offered]) -> Result<Self, Vec<String>> {
        Self::load(setting, Some(offered))
    }

    fn load(setting: &Setting<'_>, offered: Option<&[Offered]>) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let Sources { heads, mut templates, mut texts } =
            Sources::read(offered.unwrap_or_default(), &mut faults);
        if let Some(folder) = &setting.config.templates {
            let problems = replace::read(folder, &mut templates, &mut texts, offered.is_some());
            faults.extend(problems.into_iter().map(|problem| problem.to_string()));
        }
        let texts = Arc::new(texts);
        let mut environment = template::environment(Arc::clone(&texts));
        for (name, source) in templates {
            let added = environment.add_template_owned(name.clone(), source);
            faults.extend(added.err().map(|error| Fault::of_template(&name, &error).to_string()));
        }
        let (mut pages, alone, wrong) = assemble(heads, setting);
        faults.extend(wrong);
        if !setting.served {
            pages.clear();
        }
        let sheet = look::sheet(setting.config.accent);
        let (style, style_hash) = (Value::from_safe_string(sheet.clone()), look::hash(&sheet));
        let mut assets = vec![Asset::style(sheet), Asset::script()];
        match setting.config.logo.as_deref().map(Asset::logo).transpose() {
            Ok(logo) => assets.extend(logo),
            Err(why) => faults.push(why),
        }
        let paths: Vec<&str> = assets.iter().map(|asset| asset.path.as_str()).collect();
        let site = Value::from_pairs([
            ("name", Value::from(setting.config.name.as_str())),
            ("css", Value::from(paths[0])),
            ("js", Value::from(paths[1])),
            ("logo", Value::from(paths.get(2).copied().filter(|_| setting.served))),
            ("has_pages", Value::from(setting.served)),
            ("registration", Value::from(setting.registration.as_str())),
            ("sends_mail", Value::from(setting.sends_mail)),
        ]);
        let forms = pages.values().flat_map(|page| page.forms.values());
        let said = forms.filter_map(|(form, _)| form.say.clone()).collect();
        let mut nav: Vec<&Page> = pages.values().filter(|page| page.nav.is_some()).collect();
        nav.sort_by_key(|page| page.nav);
        let nav = nav.iter().map(|page| (page.path.clone(), page.base.clone())).collect();
        let assets = assets.into_iter().filter(|_| setting.served);
        let assets = assets.map(|asset| (asset.path.clone(), asset)).collect();
        let has_reference = setting.served && setting.openapi;
        let locales = texts.locales().filter(|_| has_reference);
        let reference = locales.map(|locale| (locale.clone(), OnceLock::new())).collect();
        let all = Self {
            templates: environment,
            texts,
            site,
            style,
            style_hash,
            alone,
            by_path: pages,
            assets,
            said,
            nav,
            reference,
        };
        if faults.is_empty() {
            let pages = all.by_path.values().chain(all.alone.values());
            faults.extend(pages.flat_map(|page| rehearsal::of(&all, page)));
            let locales = all.reference.keys();
            faults.extend(locales.filter_map(|locale| rehearsal::of_reference(&all, locale)));
        }
        faults.sort();
        faults.dedup();
        if faults.is_empty() { Ok(all) } else { Err(faults) }
    }

    /// Whether one of them stands at that path.
    pub(crate) fn stands_at(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }
    pub(super) fn page(&self, path: &str) -> Option<&Page> {
        self.by_path.get(path)
    }
    /// The page of that template which stands at no path.
    pub(super) fn alone(&self, template: &str) -> Option<&Page> {
        self.alone.get(template)
    }
    pub(super) fn asset(&self, path: &str) -> Option<&Asset> {
        self.assets.get(path)
    }
    /// The page of the description, of which `describe` knows the content; `None` where there is none.
    pub(super) fn reference(
        &self,
        locale: &str,
        describe: impl FnOnce() -> openapi::Page,
    ) -> Option<Result<Bytes, Refusal>> {
        let made = self.reference.get(locale)?;
        if let Some(html) = made.get() {
            return Some(Ok(html.clone()));
        }
        let html = self.html(REFERENCE, self.described(locale, &describe()));
        Some(html.map(|html| made.get_or_init(|| html.into()).clone()))
    }
    /// What its template has names for.
    pub(super) fn described<'a>(&self, locale: &str, api: &openapi::Page) -> Vec<(&'a str, Value)> {
        vec![("api", Value::from(Serde(api))), ("site", self.site.clone()), ("lang", Value::from(locale))]
    }
    /// The text that a location asks for, if any form leads there with it: nobody can have us say another.
    pub(super) fn said(&self, locale: &str, key: &str) -> Option<&str> {
        self.said.get(key).and_then(|key| self.texts.get(locale, key))
    }
    /// What leads to each of the settings, and whether it is `current`.
    pub(super) fn nav(&self, locale: &str, current: &str) -> Value {
        let entry = |(path, base): &(String, String)| {
            let text =
                |name: &str| Value::from(self.texts.get(locale, &format!("{base}.{name}")).unwrap_or(path));
            let current = Value::from(path == current);
            Value::from_pairs([
                ("path", Value::from(path)),
                ("text", text("nav")),
                ("about", text("about")),
                ("current", current),
            ])
        };
        self.nav.iter().map(entry).collect()
    }

    /// What of a page's names does not depend on the request.
    pub(super) fn fixed<'a>(&self, page: &Page, locale: &str) -> [(&'a str, Value); 5] {
        let of_page = [
            ("path", Value::from(&page.path)),
            ("base", Value::from(&page.base)),
            ("style", if page.is_alone() { self.style.clone() } else { Value::from(()) }),
        ];
        [
            ("page", Value::from_pairs(of_page)),
            ("parts", page.parts.iter().map(String::as_str).collect()),
            ("nav", self.nav(locale, &page.path)),
            ("site", self.site.clone()),
            ("lang", Value::from(locale)),
        ]
    }
}

/// What the host and its plugins bring, taken apart.
struct Sources {
    heads: Vec<(String, Head)>,
    templates: BTreeMap<String, String>,
    texts: Texts,
}

impl Sources {
    fn read(offered: &[Offered], faults: &mut Vec<String>) -> Self {
        let (mut heads, mut templates, mut texts) = (Vec::new(), BTreeMap::new(), Texts::default());
        let mut fail = |found: Vec<Fault>| faults.extend(found.iter().map(ToString::to_string));
        let english = include_str!("built-in/en.toml");
        texts.add("en.toml", ENGLISH, english, Keys::New("")).unwrap_or_else(&mut fail);
        for Offered { plugin, texts: theirs, .. } in offered {
            let prefix = format!("{plugin}.");
            for (locale, source) in theirs {
                let keys = if locale == ENGLISH { Keys::New(&prefix) } else { Keys::Known };
                let file = format!("{plugin}/{locale}.toml");
                texts.add(&file, locale, source, keys).unwrap_or_else(&mut fail);
            }
        }
        let own = BUILT_IN.iter().map(|(name, source)| ((*name).to_owned(), *source));
        let theirs = offered.iter().flat_map(|Offered { plugin, pages, .. }| {
            pages.iter().map(move |(name, source)| (format!("{plugin}/{name}"), source.as_str()))
        });
        for (name, source) in own.chain(theirs) {
            match File::parse(source) {
                Ok(File { head, template }) => {
                    templates.insert(format!("{name}.html"), template);
                    heads.push((name, head));
                }
                Err((line, why)) => fail(vec![Fault::new(&format!("{name}.html"), line, &why)]),
            }
        }
        Self { heads, templates, texts }
    }
}

type ByName = BTreeMap<String, Page>;

/// Pages of heads, by path, and those that stand alone, by template. Parts go to the page that they are of.
fn assemble(heads: Vec<(String, Head)>, setting: &Setting<'_>) -> (ByName, ByName, Vec<String>) {
    let mut faults = Vec::new();
    let (mut pages, mut alone) = (ByName::new(), ByName::new());
    let mut parts = Vec::new();
    for (name, head) in heads {
        if head.mail && !setting.sends_mail {
            continue;
        }
        for (method, path) in routes(&head) {
            if !(setting.has_route)(method, path) {
                faults.push(format!("{name}.html:1: {method} {path} is no route of the API"));
            }
        }
        if head.alone {
            alone.insert(format!("{name}.html"), page(&name, String::new(), head));
            continue;
        }
        let Some(path) = head.path.clone() else {
            parts.push((name, head));
            continue;
        };
        if !path.starts_with('/') || TAKEN.iter().any(|taken| path.starts_with(taken)) {
            faults.push(format!("{name}.html:1: no page can stand at {path}"));
        }
        if let Some(other) = pages.insert(path.clone(), page(&name, path.clone(), head)) {
            faults.push(format!("{name}.html:1: {} stands at {path} already", other.template));
        }
    }
    for (name, head) in parts {
        let Some(of) = &head.part_of else { continue };
        let Some(page) = pages.get_mut(of) else {
            faults.push(format!("{name}.html:1: no page stands at {of}"));
            continue;
        };
        let taken = head.form.keys().any(|key| page.forms.contains_key(key))
            || head.read.keys().any(|key| page.reads.iter().any(|(known, _)| known == key));
        if taken {
            faults.push(format!("{name}.html:1: {} has a form or a reading of the same name", page.template));
        }
        page.parts.push(format!("{name}.html"));
        page.reads.extend(head.read);
        page.query.extend(head.query);
        page.forms.extend(head.form.into_iter().map(|(key, form)| (key, (form, base(&name)))));
    }
    (pages, alone, faults)
}

fn page(name: &str, path: String, head: Head) -> Page {
    Page {
        path,
        template: format!("{name}.html"),
        base: base(name),
        access: head.access,
        fresh: head.fresh,
        query: head.query,
        reads: head.read.into_iter().collect(),
        forms: head.form.into_iter().map(|(key, form)| (key, (form, base(name)))).collect(),
        parts: Vec::new(),
        nav: head.nav,
    }
}

fn base(name: &str) -> String {
    name.replace('/', ".")
}

fn routes(head: &Head) -> impl Iterator<Item = (&'static str, &str)> {
    let read = head.read.values().map(|path| ("GET", path.split('?').next().unwrap_or_default()));
    read.chain(head.form.values().filter_map(|form| form.route()))
}
