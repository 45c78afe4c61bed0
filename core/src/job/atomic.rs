//! Files that are either whole or not there: written to a temporary sibling, synced, then renamed.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// How temporary siblings begin; a killed process may leave one behind.
pub(super) const TEMPORARY_PREFIX: &str = ".halftone-";

/// Writes bytes to `path` atomically.
///
/// # Errors
/// `Io`; the temporary sibling is removed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_file_atomically(path, |file| file.write_all(bytes), |_| Ok(()))
}

/// Streams a file to a temporary sibling with `write`, syncs it, lets `check` re-open it by path, and renames it to `path`. The sibling
/// has the extension of `path`.
///
/// `write` may hand on an [`Error`] of ours (a cancellation) inside [`std::io::Error::other`]; it comes out as itself.
///
/// # Errors
/// `Io` from writing; whatever `check` finds. In both cases nothing is left behind and what was at `path` stays.
pub fn write_file_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
    check: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    let suffix = path.extension().map(|e| format!(".{}", e.to_string_lossy())).unwrap_or_default();
    let mut builder = tempfile::Builder::new();
    let temporary = builder.prefix(TEMPORARY_PREFIX).suffix(&suffix).tempfile_in(folder).map_err(Error::io("create a file beside the output", path))?;
    let mut buffered = BufWriter::with_capacity(1 << 20, temporary.as_file());
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(ours_or_io("write the output", path))?;
    drop(buffered);
    temporary.as_file().sync_all().map_err(Error::io("sync the output", path))?;
    check(temporary.path())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        temporary.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(Error::io("set permissions of the output", path))?;
    }
    temporary.persist(path).map_err(|e| Error::io("rename the output into place", path)(e.error))?;
    // The new name is durable once the folder is; not every file system can sync one, and the file itself is whole either way.
    #[cfg(unix)]
    let _ = File::open(folder).and_then(|f| f.sync_all());
    Ok(())
}

/// An error of ours that travelled inside an I/O error, or the I/O error with its operands.
fn ours_or_io(operation: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |error| error.downcast::<Error>().unwrap_or_else(Error::io(operation, path))
}

/// Refuses to write where something is read from, by whatever name.
///
/// # Errors
/// `Input`.
pub fn not_the_same(input: &Path, output: &Path) -> Result<()> {
    match (input.canonicalize(), output.canonicalize()) {
        (Ok(a), Ok(b)) if a == b => Err(Error::Input(format!("{} is what is read; writing there would destroy it: name another output", output.display()))),
        // What is not there cannot be lost.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_disk_leaves_nothing_behind_and_keeps_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.gguf");
        write_atomically(&path, b"before").unwrap();
        let full = |file: &mut BufWriter<&File>| file.write_all(b"half").and(Err(io::ErrorKind::StorageFull.into()));
        let error = write_file_atomically(&path, full, |_| Ok(())).unwrap_err();
        assert!(matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{error}");
        assert_eq!(names(folder.path()), ["out.gguf"]);
        assert_eq!(std::fs::read(&path).unwrap(), b"before");
    }

    #[test]
    fn a_failed_check_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.gguf");
        let check = |there: &Path| {
            assert_eq!(std::fs::read(there).unwrap(), b"bytes");
            assert_eq!(there.extension().unwrap(), "gguf");
            Err(Error::Input("not so".into()))
        };
        assert!(write_file_atomically(&path, |file| file.write_all(b"bytes"), check).is_err());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_cancellation_inside_an_io_error_comes_out_as_itself() {
        let folder = tempfile::tempdir().unwrap();
        let error = write_file_atomically(&folder.path().join("x"), |_| Err(io::Error::other(Error::Cancelled)), |_| Ok(())).unwrap_err();
        assert!(matches!(error, Error::Cancelled));
    }

    #[test]
    fn what_is_read_is_not_written_over_by_any_name() {
        let folder = tempfile::tempdir().expect("folder");
        let (file, other) = (folder.path().join("model.gguf"), folder.path().join("new.gguf"));
        std::fs::write(&file, "model").expect("write");
        not_the_same(&file, &other).expect("another file");
        let error = not_the_same(&file, &folder.path().join("./model.gguf")).expect_err("the same");
        assert!(matches!(error, Error::Input(_)), "{error}");
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(&file, &other).expect("link");
            assert!(not_the_same(&file, &other).is_err(), "the same by another name");
        }
    }
}
