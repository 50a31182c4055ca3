//! What a plugin library exports: its manifest and its root, as two statics that are placed and named.

/// Exports a plugin from its library: `export_plugin!(Type, "name")`.
///
/// The name is of lower-case letters, digits and `-`, starts with a letter and has at most 32 of them. A store
/// is named `store-NAME`, a delivery `delivery-NAME`; it decides which table of the host's configuration the
/// plugin gets (see [`Plugin`](crate::Plugin)).
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty, $name:literal) => {
        const _: () = {
            struct Exported;
            impl $crate::__private::Export for Exported {
                type Plugin = $plugin;
                const NAME: &'static str = $name;
            }

            const OWN: &str = concat!("name=", $name, "\nversion=", env!("CARGO_PKG_VERSION"), "\n");
            const COMMON: &str = $crate::manifest::common(cfg!(panic = "unwind"));
            const LEN: usize = OWN.len() + COMMON.len();
            const _: () = assert!(
                $crate::manifest::is_name($name),
                "a plugin's name is lower-case letters, digits and dashes"
            );

            #[used]
            #[unsafe(link_section = ".countersign")]
            static MANIFEST: [u8; LEN] = $crate::manifest::join::<LEN>(OWN, COMMON);

            #[unsafe(no_mangle)]
            pub static _1as_0lib_1header_0root_bmodule_bloader: $crate::__private::LibHeader =
                $crate::__private::header::<Exported>();
        };
    };
}
