//! Files that are either whole or not there: written to a temporary sibling, synced, then renamed.

use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

/// Writes bytes to `path` atomically.
///
/// # Errors
/// `Io`; the temporary sibling is removed.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_file_atomically(path, |file| file.write_all(bytes), |_| Ok(()))
}

/// Streams a file to a temporary sibling with `write`, syncs it, lets `check` re-open it by path, and renames it to `path`.
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
    let temporary = tempfile::Builder::new().prefix(".halftone-").tempfile_in(folder).map_err(Error::io("create a file beside the output", path))?;
    let mut buffered = BufWriter::with_capacity(1 << 20, temporary.as_file());
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(Error::io("write the output", path))?;
    drop(buffered);
    temporary.as_file().sync_all().map_err(Error::io("sync the output", path))?;
    check(temporary.path())?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        temporary.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(Error::io("set permissions of the output", path))?;
    }
    temporary.persist(path).map_err(|e| Error::io("rename the output into place", path)(e.error))?;
    Ok(())
}
