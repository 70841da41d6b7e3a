//! JSON lines at the end of a file: the owner's alone, a plain file and no link. When it was moved away, as log rotation
//! does, the next lines begin a new one. It is a copy: it is not forced to disk.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::thread::Blocking;

pub struct Appended {
    path: PathBuf,
    open: Option<File>,
}

impl Appended {
    pub const fn at(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    fn file(&mut self) -> std::io::Result<&mut File> {
        let same = |file: &File| -> std::io::Result<bool> {
            let (ours, there) = (file.metadata()?, std::fs::metadata(&self.path)?);
            Ok((ours.dev(), ours.ino()) == (there.dev(), there.ino()))
        };
        let kept = self.open.take().filter(|file| same(file).unwrap_or(false));
        let file = match kept {
            Some(file) => file,
            None => open(&self.path)?,
        };
        Ok(self.open.insert(file))
    }
}

impl Blocking for Appended {
    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let path = self.path.display().to_string();
        let append = |file: &mut File| -> std::io::Result<()> {
            // What a full disk left of a line must not run into the next one.
            let length = file.metadata()?.len();
            if length > 0 {
                file.seek(SeekFrom::Start(length - 1))?;
                let mut last = [0];
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    file.write_all(b"\n")?;
                }
            }
            file.write_all(bytes)
        };
        self.file().and_then(append).map_err(|error| format!("{path}: {error}"))
    }
}

/// Opens a file to append to, and makes it where there is none. A link, a pipe or a device is refused.
pub fn open(path: &Path) -> std::io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::other("is not a plain file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_appended_to_and_begun_anew_when_it_was_moved() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("audit.jsonl");
        std::fs::write(&path, "half a li").unwrap();
        let mut file = Appended::at(path.clone());
        file.write(b"{\"a\":1}\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half a li\n{\"a\":1}\n");
        std::fs::rename(&path, home.path().join("audit.jsonl.1")).unwrap();
        file.write(b"{\"a\":2}\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"a\":2}\n");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn links_pipes_and_folders_are_refused() {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        std::fs::write(&target, "").unwrap();
        let link = home.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for path in [link, home.path().to_owned(), "/dev/null".into()] {
            let refused = Appended::at(path.clone()).write(b"x\n").unwrap_err();
            assert!(refused.starts_with(&path.display().to_string()), "{refused}");
        }
        assert_eq!(std::fs::read(&target).unwrap(), b"");
    }
}
