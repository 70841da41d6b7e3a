//! Faults that only the system can make, made by a library that is loaded into a program before its own: `preload.c`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Built once.
pub fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/postgres/preload.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (new, library) = (folder.join(format!("preload-{}.so", std::process::id())), folder.join("preload.so"));
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&new).arg(source).arg("-ldl");
        let done = compile.output().expect("these tests need a C compiler, `cc`");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        // Another process of these tests may use the one that is there.
        std::fs::rename(new, &library).unwrap();
        library
    })
}
