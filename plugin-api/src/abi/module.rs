//! The root of a plugin library: what is exported, and how a kernel takes hold of it.
use super::{
    LogSink,
    flat::{Flat, Item},
    guard,
    objects::{DONE, FAULT, RegistrarAbi_TO, RegistrarObject},
    settle,
};
use crate::{
    error::Error,
    kernel::{Collected, ConfigError, Incompatible, LoadError},
    location,
    plugin::{Plugin, Registrar},
};
pub use abi_stable::library::LibHeader;
use abi_stable::{
    StableAbi,
    abi_stability::abi_checking::{
        AbiInstability, AbiInstabilityErrors, CheckingGlobals, check_layout_compatibility_with_globals,
    },
    library::{
        AbiHeaderRef, CheckTypeLayout, ROOT_MODULE_LOADER_NAME_WITH_NUL, RootModule, RootModuleResult,
    },
    prefix_type::PrefixTypeTrait,
    sabi_trait::TD_Opaque,
    sabi_types::{RMut, VersionStrings},
    std_types::RStr,
    type_layout::TLFieldOrFunction,
};
use std::{ffi::c_void, path::Path};

#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = ModuleRef, prefix_fields = ModulePrefix)))]
#[sabi(missing_field(option))]
#[allow(unreachable_pub, reason = "the prefix type that is made of it is public")]
pub struct Module {
    name: RStr<'static>,
    check: extern "C" fn(&Flat, &mut Flat) -> u32,
    #[sabi(last_prefix_field)]
    register: for<'a> extern "C" fn(&Flat, LogSink, RegistrarObject<'a>, &mut Flat) -> u32,
}

impl RootModule for ModuleRef {
    abi_stable::declare_root_module_statics! {ModuleRef}
    const BASE_NAME: &'static str = "countersign_plugin";
    const NAME: &'static str = "countersign plugin";
    const VERSION_STRINGS: VersionStrings = abi_stable::package_version_strings!();
}

/// The symbol that a plugin library exports.
pub(crate) const SYMBOL: &str = ROOT_MODULE_LOADER_NAME_WITH_NUL;

/// What `export_plugin!` states of a plugin.
#[doc(hidden)]
pub trait Export: 'static {
    type Plugin: Plugin;
    const NAME: &'static str;
}

/// The header behind the exported symbol.
#[doc(hidden)]
pub const fn header<E: Export>() -> LibHeader {
    // SAFETY: `erased` leads to the constructor of exactly this module type.
    unsafe { LibHeader::from_constructor::<ModuleRef>(erased::<E>, CheckTypeLayout::Yes) }
}

extern "C" fn erased<E: Export>() -> RootModuleResult {
    fn root<E: Export>() -> ModuleRef {
        Module { name: RStr::from_str(E::NAME), check: check::<E>, register: register::<E> }
            .leak_into_prefix()
    }
    abi_stable::library::__call_root_module_loader(root::<E>)
}

const CONFIG: u32 = 1;
const REFUSED: u32 = 2;

/// The code of a configuration whose host is a development host. A kernel that does not say so is none.
const DEVELOPMENT: u32 = 1;

extern "C" fn check<E: Export>(config: &Flat, reason: &mut Flat) -> u32 {
    guard(|| match configured::<E::Plugin>(config) {
        Ok(_) => DONE,
        Err((at, why)) => say(reason, CONFIG, &at, &why),
    })
    .unwrap_or(FAULT)
}

extern "C" fn register<E: Export>(
    config: &Flat,
    log: LogSink,
    registrar: RegistrarObject<'_>,
    reason: &mut Flat,
) -> u32 {
    guard(|| {
        settle(E::NAME, log);
        let plugin = match configured::<E::Plugin>(config) {
            Ok(plugin) => plugin,
            Err((at, why)) => return say(reason, CONFIG, &at, &why),
        };
        match plugin.register(&mut Registrar::new(registrar)) {
            Ok(()) => DONE,
            Err(error) => say(reason, REFUSED, "", &error.to_string()),
        }
    })
    .unwrap_or(FAULT)
}

/// The plugin as its configuration makes it, or the place of the error (`a.b`) and the error.
fn configured<P: Plugin>(config: &Flat) -> Result<P, (String, String)> {
    let item = config.at(0).unwrap_or_default();
    if P::DEVELOPMENT_ONLY && item.code != DEVELOPMENT {
        let why =
            "this plugin shows what nobody else may see: it serves a host that is started with --dev alone";
        return Err((String::new(), why.into()));
    }
    let mut json = serde_json::Deserializer::from_slice(item.a);
    let plugin: P = location::read_in(item.text_b(), || serde_path_to_error::deserialize(&mut json))
        .map_err(|error| (error.path().to_string(), serde_message(error.inner())))?;
    plugin.check().map_err(|error| (String::new(), error.to_string()))?;
    Ok(plugin)
}

/// Without serde_json's position, which is one in a text that the user never wrote.
fn serde_message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

fn say(reason: &mut Flat, code: u32, at: &str, why: &str) -> u32 {
    reason.push(Item { a: at.as_bytes(), b: why.as_bytes(), ..Item::default() });
    code
}

/// A plugin library that has passed the layout check.
#[derive(Clone, Copy)]
pub struct Loaded {
    module: ModuleRef,
    development: bool,
}

impl Loaded {
    /// The exported symbol, with its final NUL, that [`attach`](Loaded::attach) wants the address of.
    pub const SYMBOL: &'static str = SYMBOL;

    /// Takes hold of an opened library: the interface's version and every layout that crosses are compared
    /// before anything of the library is called.
    ///
    /// A newer library in an older kernel passes the check in one direction, an older one in a newer kernel
    /// in the other; either is accepted.
    ///
    /// # Safety
    /// `symbol` is the address of the symbol [`Loaded::SYMBOL`] in a library that is never closed.
    pub unsafe fn attach(symbol: *const c_void) -> Result<Self, Incompatible> {
        if symbol.is_null() {
            return Err(Incompatible::new("its symbol leads nowhere"));
        }
        // SAFETY: the caller's promise; the symbol is the header itself and an AbiHeaderRef the pointer to one.
        // A header starts with abi_stable's own version, checked by `upgrade`.
        let header = unsafe { std::mem::transmute::<*const c_void, AbiHeaderRef>(symbol) };
        let header = header
            .upgrade()
            .map_err(|_| Incompatible::new("it was built with another version of abi_stable"))?;
        let theirs = header.layout().ok_or_else(|| Incompatible::new("it exports no layout to compare"))?;
        let ours = <ModuleRef as StableAbi>::LAYOUT;
        let compare = |a, b| check_layout_compatibility_with_globals(a, b, &CheckingGlobals::new());
        if let Err(forth) = compare(ours, theirs) {
            compare(theirs, ours).map_err(|_| Incompatible::new(first_difference(&forth)))?;
        }
        // SAFETY: the layouts are compatible in one of the two directions, and a prefix type's accessors
        // check which of its fields exist.
        let module = guard(|| unsafe { header.init_root_module_with_unchecked_layout::<ModuleRef>() })
            .ok_or_else(|| Incompatible::new("it panicked while it was opened"))?
            .map_err(|_| Incompatible::new("it could not hand out its root module"))?;
        Ok(Self { module, development: false })
    }

    /// The same library for a host that serves development alone, or not: without this it does not, and a plugin
    /// that is [for development only](crate::Plugin::DEVELOPMENT_ONLY) refuses.
    #[must_use]
    pub fn in_development(self, development: bool) -> Self {
        Self { development, ..self }
    }

    /// The name that the code gives, which must be the manifest's.
    pub fn name(&self) -> &'static str {
        self.module.name().as_str()
    }

    /// Whether the plugin accepts that configuration, a JSON object that stands for a table of a file in
    /// `folder`. Nothing is registered.
    pub fn check(&self, config: &str, folder: &Path) -> Result<(), LoadError> {
        let mut reason = Flat::default();
        let code = self.module.check()(&self.configuration(config, folder), &mut reason);
        told(code, &reason)
    }

    /// Registers into a table of its own, which is handed out only when all went well.
    pub fn register(&self, config: &str, folder: &Path, log: LogSink) -> Result<Collected, LoadError> {
        let mut collected = Collected::default();
        let mut reason = Flat::default();
        let registrar = RegistrarAbi_TO::from_ptr(RMut::new(&mut collected), TD_Opaque);
        let code = self.module.register()(&self.configuration(config, folder), log, registrar, &mut reason);
        told(code, &reason)?;
        collected.checked().map_err(LoadError::Refused)
    }

    fn configuration(&self, json: &str, folder: &Path) -> Flat {
        let folder = folder.to_string_lossy();
        let code = if self.development { DEVELOPMENT } else { 0 };
        let mut flat = Flat::with_capacity(1, json.len() + folder.len());
        flat.push(Item { code, a: json.as_bytes(), b: folder.as_bytes(), ..Item::default() });
        flat
    }
}

fn told(code: u32, reason: &Flat) -> Result<(), LoadError> {
    let said = reason.is_sound().then(|| reason.at(0)).flatten().unwrap_or_default();
    Err(match code {
        DONE => return Ok(()),
        CONFIG => LoadError::Config(ConfigError { path: said.text().into(), message: said.text_b().into() }),
        REFUSED => LoadError::Refused(Error::new(said.text_b())),
        _ => LoadError::Panicked,
    })
}

/// abi_stable's own report runs to thousands of lines: the first difference, as a path and what differs.
fn first_difference(errors: &AbiInstabilityErrors) -> String {
    // A type that has other fields is found to be of another size first, which tells nobody what was changed.
    let tells = |difference: &AbiInstability| {
        matches!(difference, AbiInstability::FieldCountMismatch(_) | AbiInstability::Name(_))
    };
    let all = || errors.errors.iter().flat_map(|at| at.errs.iter().map(move |difference| (at, difference)));
    let Some((at, difference)) = all().find(|(_, difference)| tells(difference)).or_else(|| all().next())
    else {
        return "its layout differs".into();
    };
    let path: Vec<&str> = at
        .stack_trace
        .iter()
        .map(|step| match &step.found {
            TLFieldOrFunction::Field(field) => field.name(),
            TLFieldOrFunction::Function(function) => function.name.as_str(),
        })
        .collect();
    let what = match difference {
        AbiInstability::FieldCountMismatch(n) => {
            format!("{} fields where {} are expected", n.found, n.expected)
        }
        AbiInstability::Name(name) => format!("{} where {} is expected", name.found, name.expected),
        other => {
            let text = format!("{other:?}");
            text.chars().take_while(char::is_ascii_alphanumeric).collect()
        }
    };
    if path.is_empty() {
        format!("the interface differs: {what}")
    } else {
        format!("the interface differs at {}: {what}", path.join("."))
    }
}
