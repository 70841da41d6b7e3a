//! Faults that only the system can make, made by a library that is loaded into a program before its own: `preload.c`.

use std::os::unix::fs::symlink;
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

/// The clock of a program: it can be set while that runs.
pub struct Clock {
    link: PathBuf,
}

impl Clock {
    /// Right, at first. In a folder that is this clock's own.
    pub fn new(folder: &Path) -> Self {
        Self { link: folder.join("clock") }
    }

    /// So many seconds ahead of the system's.
    pub fn set(&self, seconds: i64) {
        let new = self.link.with_extension("new");
        symlink(seconds.to_string(), &new).unwrap();
        std::fs::rename(new, &self.link).unwrap();
    }

    /// The program that starts another one with this clock.
    pub fn wrapper(&self) -> [String; 3] {
        [
            "env".to_owned(),
            format!("LD_PRELOAD={}", library().display()),
            format!("TEST_WRONG_CLOCK={}", self.link.display()),
        ]
    }
}
