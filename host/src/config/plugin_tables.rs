//! The tables of plugins: handed on as JSON, and found again when a plugin objects.
use super::{
    Config, Problem, Problems,
    nearest::nearest,
    read::join,
    reference::Reference,
    seed,
    settings::OWN,
    source::Place,
    tree::{Entry, Node, Value, find},
};
use serde_json::{Map, Value as Json};

impl Config {
    /// The table of a plugin as JSON, `{}` when there is none: `[store.NAME]` for `store-NAME`,
    /// `[delivery.NAME]` for `delivery-NAME`, `[NAME]` for any other. What `{ env = … }` and `{ file = … }`
    /// point to has taken their place, so the text may hold secrets.
    pub fn plugin_table(&self, plugin: &str) -> Result<String, Problems> {
        let name = TableName::of(plugin);
        if name.is_the_hosts() {
            let why = format!("a plugin cannot be named `{plugin}`: [{}] is the host's own", name.path());
            return Err(Problem::of_file(&self.file, None, &why).into());
        }
        let mut problems = Problems::default();
        let mut table = match self.plugin_entry(name) {
            Some(entry) => {
                let table = self.json(&entry.node, &name.path(), &mut problems);
                if table.as_ref().is_some_and(|table| !table.is_object()) {
                    problems.push(self.at(entry.key_at, &name.path(), "must be a table"));
                }
                table.filter(Json::is_object)
            }
            None => Some(Json::Object(Map::new())),
        };
        if let Some(table) = &mut table {
            for (variable, why) in seed::override_with_env(plugin, table, self.env) {
                problems.push(Problem::of_file(&self.file, Some(variable), &why));
            }
        }
        problems.none_or(table.unwrap_or_default().to_string())
    }

    /// Whether the store in use says that it forgets everything at a restart.
    pub fn store_is_volatile(&self) -> bool {
        let table = self.plugin_table(&format!("store-{}", self.store));
        let table = table.ok().and_then(|table| serde_json::from_str::<Json>(&table).ok());
        table.is_some_and(|table| table["volatile"] == true)
    }

    /// Tables that none of these plugins owns: nobody would read what they say.
    pub fn unowned_tables(&self, plugins: &[&str]) -> Problems {
        let owners: Vec<TableName<'_>> = plugins.iter().map(|plugin| TableName::of(plugin)).collect();
        self.unowned(|name| owners.contains(&name), &owners)
    }

    /// A guess at the same from the names of the libraries, for a file that is refused before any is looked at.
    pub(super) fn tables_without_a_file(&self) -> Problems {
        let plugins = find(&self.document.root, "plugin").map(|entry| &entry.node.value);
        let nodes = if let Some(Value::List(nodes)) = plugins { &nodes[..] } else { &[] };
        let file = |node: &Node| Some(find(node.entries()?, "file")?.node.text()?.replace('-', "_"));
        let files: Vec<String> = nodes.iter().filter_map(file).collect();
        self.unowned(|name| files.iter().any(|file| file.contains(&name.in_a_file_name())), &[])
    }

    fn unowned(&self, owned: impl Fn(TableName<'_>) -> bool, owners: &[TableName<'_>]) -> Problems {
        let tables = |parent: Option<&'static str>| {
            let entries = match parent {
                None => Some(&self.document.root[..]),
                Some(parent) => find(&self.document.root, parent).and_then(|entry| entry.node.entries()),
            };
            let tables = entries.unwrap_or_default().iter().filter(|entry| entry.node.entries().is_some());
            tables.map(move |entry| (TableName { parent, key: &entry.key }, entry))
        };
        let all = [None, Some("store"), Some("delivery")].into_iter().flat_map(tables);
        let mut problems = Problems::default();
        for (name, entry) in all.filter(|(name, _)| !name.is_the_hosts() && !owned(*name)) {
            let beside = owners.iter().filter(|owner| owner.parent == name.parent).map(|owner| owner.key);
            let own = OWN.into_iter().filter(|_| name.parent.is_none());
            let message = match nearest(name.key, beside.chain(own)) {
                Some(meant) => format!("is not a known table; did you mean `{meant}`?"),
                None => format!("is not a known table, and no [[plugin]] is named `{}`", name.plugin()),
            };
            problems.push(self.at(entry.key_at, &name.path(), &message));
        }
        problems
    }

    pub(super) fn plugin_entry(&self, name: TableName<'_>) -> Option<&Entry> {
        let beside = match name.parent {
            None => &self.document.root,
            Some(parent) => find(&self.document.root, parent)?.node.entries()?,
        };
        find(beside, name.key)
    }

    pub(super) fn at(&self, at: Place, path: &str, message: &str) -> Problem {
        Problem::at(&self.document.source, at, Some(path), message)
    }

    pub(super) fn resolve(&self, node: &Node) -> Option<Result<String, String>> {
        let reference = Reference::of(node, &self.document.source)?;
        Some(reference.resolve(&self.folder, self.env))
    }

    fn json(&self, node: &Node, path: &str, problems: &mut Problems) -> Option<Json> {
        let mut refuse = |message: &str| problems.push(self.at(node.at, path, message));
        if let Some(value) = self.resolve(node) {
            return value.map_err(|why| refuse(&why)).ok().map(Json::String);
        }
        match &node.value {
            Value::Text(text) | Value::Date(text) => Some(text.clone().into()),
            Value::Whole(number) => Some((*number).into()),
            Value::Flag(flag) => Some((*flag).into()),
            Value::Float(number) if number.is_finite() => Some((*number).into()),
            Value::Float(_) => {
                refuse("must be a finite number");
                None
            }
            Value::TooLarge => {
                refuse("is a number that is too large");
                None
            }
            Value::List(nodes) => {
                let items: Vec<_> = nodes.iter().filter_map(|node| self.json(node, path, problems)).collect();
                Some(items.into())
            }
            Value::Table(entries) => {
                let mut item = |entry: &Entry| {
                    Some((entry.key.clone(), self.json(&entry.node, &join(path, &entry.key), problems)?))
                };
                Some(Json::Object(entries.iter().filter_map(&mut item).collect()))
            }
        }
    }
}

/// Where the table of a plugin is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct TableName<'a> {
    parent: Option<&'static str>,
    key: &'a str,
}

impl<'a> TableName<'a> {
    pub(super) fn of(plugin: &'a str) -> Self {
        let below = |parent: &'static str, prefix| {
            plugin.strip_prefix(prefix).map(|key| Self { parent: Some(parent), key })
        };
        let parent = below("store", "store-").or_else(|| below("delivery", "delivery-"));
        parent.unwrap_or(Self { parent: None, key: plugin })
    }
    pub(super) fn path(self) -> String {
        join(self.parent.unwrap_or_default(), self.key)
    }
    pub(super) fn parts(self) -> (Option<&'static str>, &'a str) {
        (self.parent, self.key)
    }
    fn plugin(self) -> String {
        self.parent.map_or(self.key.to_owned(), |parent| format!("{parent}-{}", self.key))
    }
    fn in_a_file_name(self) -> String {
        self.plugin().replace('-', "_")
    }
    fn is_the_hosts(self) -> bool {
        match self.parent {
            None => OWN.contains(&self.key),
            Some(_) => self.key == "use",
        }
    }
}
