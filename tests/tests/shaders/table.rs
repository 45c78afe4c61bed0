//! The table of kernels against the folder and against naga.

use halftone_shaders::{BindingKind, Extensions, Kernel};
use naga::{AddressSpace, StorageAccess, TypeInner, valid};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn shaders() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shaders")
}

fn stems(folder: &Path, extension: &str) -> BTreeSet<String> {
    let files = std::fs::read_dir(folder).expect("folder").map(|entry| entry.expect("entry").path());
    files.filter(|path| path.extension().is_some_and(|e| e == extension)).map(|path| path.file_stem().expect("stem").to_string_lossy().into_owned()).collect()
}

/// What a device may need for these.
fn capabilities(extensions: Extensions) -> valid::Capabilities {
    let mut needed = valid::Capabilities::empty();
    needed.set(valid::Capabilities::SUBGROUP, extensions.subgroups);
    needed.set(valid::Capabilities::SHADER_FLOAT16, extensions.halves);
    needed
}

fn parse(kernel: Kernel, extensions: Extensions) -> naga::Module {
    let source = kernel.wgsl(extensions);
    let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{}: {}", kernel.name(), e.emit_to_string(&source)));
    valid::Validator::new(valid::ValidationFlags::all(), capabilities(extensions))
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {}", kernel.name(), e.emit_to_string(&source)));
    module
}

#[test]
fn the_table_of_kernels_is_the_folder_and_each_has_a_twin() {
    let table: BTreeSet<String> = Kernel::ALL.iter().map(|k| k.name().to_owned()).collect();
    assert!(!table.is_empty() && table.len() == Kernel::ALL.len(), "kernels, each with a name of its own");
    assert_eq!(stems(&shaders().join("wgsl"), "wgsl"), table, "wgsl files");
    let mut twins = stems(&shaders().join("src/twin"), "rs");
    assert!(twins.remove("mod"), "src/twin/mod.rs");
    assert_eq!(twins, table, "twins");
}

#[test]
fn every_kernel_is_valid_wgsl_with_the_workgroup_and_bindings_of_the_table() {
    let both = [Extensions::default(), Extensions::ALL];
    for (&kernel, extensions) in Kernel::ALL.iter().flat_map(|kernel| both.map(|extensions| (kernel, extensions))) {
        let module = parse(kernel, extensions);
        let [entry] = module.entry_points.as_slice() else { panic!("{} has one entry point", kernel.name()) };
        assert_eq!((entry.name.as_str(), entry.workgroup_size), ("main", kernel.workgroup_size()), "{}", kernel.name());

        let mut bound = BTreeMap::new();
        for (_, variable) in module.global_variables.iter() {
            let kind = match variable.space {
                AddressSpace::Uniform => BindingKind::Uniform,
                AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => BindingKind::Write,
                AddressSpace::Storage { .. } => BindingKind::Read,
                _ => continue,
            };
            let binding = variable.binding.as_ref().expect("a buffer has a binding");
            assert_eq!(binding.group, 0, "one bind group");
            bound.insert(binding.binding, (variable.name.clone().expect("name"), kind));
        }
        let table: BTreeMap<u32, (String, BindingKind)> = (0..).zip(kernel.bindings().iter().map(|b| (b.name.to_owned(), b.kind))).collect();
        assert_eq!(bound, table, "{}", kernel.name());
    }
}

#[test]
fn uniform_structs_lie_as_naga_reads_them() {
    for &kernel in Kernel::ALL {
        let module = parse(kernel, Extensions::default());
        let layout = kernel.uniform();
        let (_, variable) = module.global_variables.iter().find(|(_, v)| v.space == AddressSpace::Uniform).expect("a uniform");
        let uniform = &module.types[variable.ty];
        let TypeInner::Struct { members, span } = &uniform.inner else { panic!("{}: the uniform is a struct", kernel.name()) };
        let fields: Vec<(&str, usize)> = members.iter().map(|m| (m.name.as_deref().expect("name"), m.offset as usize)).collect();
        assert_eq!((uniform.name.as_deref(), *span as usize), (Some(layout.name), layout.size_bytes), "{}", kernel.name());
        assert_eq!(fields, layout.fields, "{}", kernel.name());
    }
}
