//! The key file on disk: nobody else may read it, and it is whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rustix::fs::OFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use super::Fault;
use crate::crypto;

/// Hundreds of key versions fit. A file that grew beyond is not read into memory.
const LENGTH_MAX: u64 = 64 * 1024;

/// Looks at the opened file, not at its name: what is checked is what is read.
pub fn read(file: &Path) -> Result<Zeroizing<String>, Fault> {
    // Without NONBLOCK, a pipe in the file's place would hang the start.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let opened =
        OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(file).map_err(|cause| {
            match cause.kind() {
                io::ErrorKind::NotFound => Fault::Missing,
                _ if cause.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Fault::NotAFile,
                _ => Fault::Io { doing: "open it", cause },
            }
        })?;
    let about = opened.metadata().map_err(|cause| Fault::Io { doing: "look at it", cause })?;
    if !about.is_file() {
        return Err(Fault::NotAFile);
    }
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Fault::Exposed { mode, file: file.to_owned() });
    }
    if about.len() > LENGTH_MAX {
        return Err(Fault::Damaged(format!("longer than {LENGTH_MAX} bytes")));
    }
    let mut text = Zeroizing::new(String::with_capacity(LENGTH_MAX as usize + 1));
    match opened.take(LENGTH_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(cause) if cause.kind() == io::ErrorKind::InvalidData => Err(Fault::Damaged("not text".to_owned())),
        Err(cause) => Err(Fault::Io { doing: "read it", cause }),
    }
}

/// A link refuses to replace what is there, where a rename would not ask.
pub fn create(file: &Path, text: &str) -> Result<(), Fault> {
    publish(file, text, |temporary| {
        fs::hard_link(temporary, file).map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => Fault::Exists,
            _ => Fault::Io { doing: "create it", cause },
        })
    })
}

pub fn replace(file: &Path, text: &str) -> Result<(), Fault> {
    publish(file, text, |temporary| {
        fs::rename(temporary, file).map_err(|cause| Fault::Io { doing: "replace it", cause })
    })
}

/// Keeps others that lock out until it is dropped. On the directory: the file itself is replaced meanwhile.
pub fn lock(dir: &Path) -> Result<File, Fault> {
    let locked = File::open(dir).and_then(|dir| dir.lock().map(|()| dir));
    locked.map_err(|cause| Fault::Io { doing: "lock its directory", cause })
}

/// Written and synced under another name, then given its own, then the directory synced: after a crash at any
/// instant the name leads to a whole file, the old one or none.
fn publish(file: &Path, text: &str, rename: impl FnOnce(&Path) -> Result<(), Fault>) -> Result<(), Fault> {
    let dir = file.parent().unwrap_or(Path::new("."));
    let temporary = Temporary::write(dir, text)?;
    rename(&temporary.0)?;
    drop(temporary);
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|cause| Fault::Io { doing: "sync its directory", cause })
}

/// A file that goes away, unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn write(dir: &Path, text: &str) -> Result<Self, Fault> {
        let temporary = Self(dir.join(format!(".{}.key.new", HEXLOWER.encode(&crypto::random::<8>()?))));
        let mut options = OpenOptions::new();
        // For the owner alone from its first instant; a later chmod would leave a moment to open it.
        options.write(true).create_new(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits() as i32);
        let written = options.open(&temporary.0).and_then(|mut opened| {
            opened.write_all(text.as_bytes())?;
            opened.sync_all()
        });
        written.map(|()| temporary).map_err(|cause| Fault::Io { doing: "write beside it", cause })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing left; otherwise it is a copy that only the owner can read.
        let _ = fs::remove_file(&self.0);
    }
}
