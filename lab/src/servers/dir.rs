//! A private directory that nobody else uses and that is removed in the end,
//! also (by the next run) when its owner was killed.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;

const PREFIX: &str = "lessee-lab-";
const LOCK: &str = ".lock";
/// A directory younger than this may not have its lock yet.
const YOUNG: Duration = Duration::from_secs(60);

/// The directory; it is removed on drop.
#[derive(Debug)]
pub(crate) struct PrivateDir {
    dir: TempDir,
    _lock: File,
}

impl PrivateDir {
    pub(crate) fn new() -> io::Result<Self> {
        sweep(&std::env::temp_dir());
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir()?;
        let lock = File::create_new(dir.path().join(LOCK))?;
        lock.lock()?;
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Removes the directories of owners that did not live to do it. Whatever
/// cannot be looked at or removed is left alone.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_orphan(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_orphan(dir: &Path) -> bool {
    let lock: PathBuf = dir.join(LOCK);
    let Ok(file) = OpenOptions::new().read(true).open(&lock) else { return false };
    let age = file
        .metadata()
        .and_then(|meta| meta.modified())
        .map(|made| SystemTime::now().duration_since(made).unwrap_or_default());
    age.is_ok_and(|age| age > YOUNG) && file.try_lock().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_living_are_spared_and_the_dead_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, age: Duration| {
            let dir = parent.path().join(name);
            fs::create_dir(&dir).unwrap();
            let lock = File::create_new(dir.join(LOCK)).unwrap();
            lock.set_modified(SystemTime::now() - age).unwrap();
            (dir, lock)
        };
        let hour = Duration::from_secs(3600);
        let (living, lock) = make("lessee-lab-living", hour);
        lock.lock().unwrap();
        let (dead, _) = make("lessee-lab-dead", hour);
        let (young, _) = make("lessee-lab-young", Duration::ZERO);
        let (foreign, _) = make("other", hour);
        sweep(parent.path());
        assert!(living.exists() && young.exists() && foreign.exists());
        assert!(!dead.exists());
    }

    #[test]
    fn it_is_removed_on_drop() {
        let dir = PrivateDir::new().unwrap();
        let path = dir.path().to_owned();
        assert!(path.exists());
        drop(dir);
        assert!(!path.exists());
    }
}
