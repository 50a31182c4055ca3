//! What crosses the boundary, type by type, as the comparison at load sees it: kept in `tests/golden/abi`, so that no
//! change of it is an accident. `docs/abi.md` says what may change.
use super::{
    module::ModuleRef,
    objects::{ContextObject, DeciderObject, DeliveryObject, RegistrarObject, StoreObject},
};
use abi_stable::{
    StableAbi,
    std_types::utypeid::UTypeId,
    type_layout::{TLData, TLFields, TypeLayout},
};
use std::{
    collections::{BTreeSet, HashSet},
    fmt::Write,
    fs,
    path::Path,
};

const OURS: &str = "countersign-plugin-api";

const SAYS: &str = "the layout of what crosses a library boundary has changed. Inside a series one thing may change: a field is \
    added behind `#[sabi(last_prefix_field)]` of the root module, or a method with a body behind that of an object. \
    Then BLESS=1 writes the new layout down. Everything else needs a new series: see docs/abi.md";

#[derive(Default)]
struct Described {
    seen: HashSet<UTypeId>,
    types: BTreeSet<String>,
}

/// Every type that can be reached, as text.
fn describe(layout: &'static TypeLayout, all: &mut Described) {
    if !all.seen.insert(layout.get_utypeid()) {
        return;
    }
    let name = layout.full_type();
    let mut text = format!("{name}: {} bytes, aligned to {}", layout.size(), layout.alignment());
    let fields = match layout.data() {
        TLData::Struct { fields } | TLData::Union { fields } => Some(fields),
        TLData::Enum(of) => {
            let _ = write!(text, ", variants {}", of.variant_names_iter().collect::<Vec<_>>().join(" "));
            Some(of.fields)
        }
        TLData::PrefixType(prefix) => {
            let _ = write!(text, ", the first {} fields in every release", prefix.first_suffix_field);
            Some(prefix.fields)
        }
        TLData::Primitive(_) | TLData::Opaque => None,
    };
    let ours = layout.package() == OURS;
    for (what, fields) in [("", fields), ("(type) ", Some(layout.phantom_fields()))] {
        fields.iter().for_each(|fields| below(what, fields, ours, &mut text, all));
    }
    all.types.insert(text);
}

fn below(what: &str, fields: &TLFields, ours: bool, text: &mut String, all: &mut Described) {
    for field in fields.iter() {
        if ours {
            let shown = if field.is_function() { "fn".to_owned() } else { field.full_type().to_string() };
            let _ = write!(text, "\n    {what}{}: {shown}", field.name());
        }
        for function in field.function_range() {
            if ours {
                let one_line = function.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
                let _ = write!(text, "\n        {one_line}");
            }
            let answer = function.return_type_layout();
            function.param_type_layouts.iter().chain(answer).for_each(|of| describe(of(), all));
        }
        if !field.is_function() {
            describe(field.layout(), all);
        }
    }
}

#[test]
fn what_crosses_is_as_it_was_agreed() {
    let mut all = Described::default();
    for layout in [
        <ModuleRef as StableAbi>::LAYOUT,
        <StoreObject as StableAbi>::LAYOUT,
        <DeliveryObject as StableAbi>::LAYOUT,
        <DeciderObject as StableAbi>::LAYOUT,
        <ContextObject<'static> as StableAbi>::LAYOUT,
        <RegistrarObject<'static> as StableAbi>::LAYOUT,
    ] {
        describe(layout, &mut all);
    }
    let text = all.types.into_iter().collect::<Vec<_>>().join("\n\n") + "\n";
    for part in ["usage", "decide", "send", "ask", "add_store", "register", "rows", "target"] {
        assert!(text.contains(part), "{part} crosses, and is not described:\n{text}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/abi/layout.txt");
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("the golden file");
        fs::write(&file, &text).expect("the golden file");
    }
    let agreed = fs::read_to_string(&file).unwrap_or_default();
    let differs = || {
        let lines = agreed.lines().zip(text.lines()).find(|(before, now)| before != now);
        lines.map_or("the ends".into(), |(before, now)| format!("- {before}\n+ {now}"))
    };
    assert!(agreed == text, "{SAYS}\n{}", differs());
}
