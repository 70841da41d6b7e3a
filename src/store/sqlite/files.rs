//! The database's files: one daemon at a time, nobody else's eyes, and still the ones that were opened.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::super::Error;
use super::schema::{KNOWN, OURS};

/// Proof that no other daemon has the database, for as long as it lives.
pub struct Claim {
    /// Where the file really is: a second daemon that comes through a symbolic link meets the same lock.
    pub path: PathBuf,
    _lock: File,
}

impl Claim {
    /// Takes the lock, then makes sure that the file is there and is the owner's alone. SQLite gives its side files the
    /// mode of the file itself.
    pub fn take(path: &Path) -> Result<Self, Error> {
        let claim = Self::lock(path)?;
        private(&claim.path)?;
        for side in ["-wal", "-shm"] {
            let side = beside(&claim.path, side);
            if side.exists() {
                private(&side)?;
            }
        }
        Ok(claim)
    }

    /// The lock alone.
    pub fn lock(path: &Path) -> Result<Self, Error> {
        let path = resolve(path)?;
        let lock_path = beside(&path, "-lock");
        let lock = private(&lock_path)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::Unavailable(format!(
                "another strongroom daemon uses {}: it holds {}",
                path.display(),
                lock_path.display()
            )),
            TryLockError::Error(cause) => failed("lock", &lock_path, &cause),
        })?;
        Ok(Self { path, _lock: lock })
    }
}

/// The files that are open. When one is removed or replaced, SQLite goes on writing to what nobody can read any more.
pub struct Opened(Vec<(PathBuf, u64, u64)>);

impl Opened {
    pub fn now(path: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        for file in [path.to_owned(), beside(path, "-wal")] {
            let there = fs::metadata(&file).map_err(|cause| failed("read", &file, &cause))?;
            files.push((file, there.dev(), there.ino()));
        }
        Ok(Self(files))
    }

    pub fn still_there(&self) -> Result<(), Error> {
        for (file, device, inode) in &self.0 {
            let there = fs::metadata(file).map_err(|cause| failed("read", file, &cause))?;
            if (there.dev(), there.ino()) != (*device, *inode) {
                let file = file.display();
                return Err(Error::Unavailable(format!("{file} was replaced under the running daemon: restart it")));
            }
        }
        Ok(())
    }
}

pub fn resolve(path: &Path) -> Result<PathBuf, Error> {
    if path.exists() {
        return path.canonicalize().map_err(|cause| failed("open", path, &cause));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::Unavailable(format!("{} is not the path of a file", path.display())));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let folder = folder.canonicalize().map_err(|cause| failed("open", folder, &cause))?;
    Ok(folder.join(name))
}

pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens a file, creates it where it is missing, and takes everybody else's rights away.
pub fn private(path: &Path) -> Result<File, Error> {
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = open.map_err(|cause| failed("open", path, &cause))?;
    let mode = file.metadata().map_err(|cause| failed("read", path, &cause))?.mode();
    if mode & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(|cause| failed("protect", path, &cause))?;
    }
    Ok(file)
}

pub fn failed(what: &str, path: &Path, cause: &std::io::Error) -> Error {
    Error::Unavailable(format!("cannot {what} {}: {cause}", path.display()))
}

/// What is found where a database should be, without touching it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Absent,
    /// A running daemon has it.
    InUse,
    /// The next start would change it.
    Older {
        found: u32,
        known: u32,
    },
    /// Whole, or what only opening it tells.
    Whole,
}

impl Look {
    pub fn at(path: &Path) -> Self {
        let Ok(path) = resolve(path) else { return Self::Absent };
        let is_locked = |lock: File| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock));
        if File::open(beside(&path, "-lock")).is_ok_and(is_locked) {
            return Self::InUse;
        }
        match schema_in_header(&path) {
            Ok(Some(found)) if found < KNOWN => Self::Older { found, known: KNOWN },
            Err(cause) if cause.kind() == ErrorKind::NotFound => Self::Absent,
            _ => Self::Whole,
        }
    }
}

/// `user_version`, if it is a database of ours. A connection would make side files; the header is read as it stands.
fn schema_in_header(path: &Path) -> Result<Option<u32>, std::io::Error> {
    let mut header = [0; 72];
    match File::open(path)?.read_exact(&mut header) {
        Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Ok((i64::from(number(68)) == OURS).then(|| number(60)))
}
