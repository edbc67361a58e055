//! Who may use the socket: makes it with the right owner and mode, sees whether another daemon has it, and looks at who
//! connects. Runs on the daemon's thread; everything here takes well under a millisecond.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::ControlError;

/// The socket's file, for as long as the daemon lives.
#[derive(Debug)]
pub(super) struct Place {
    /// The socket.
    path: PathBuf,
    /// Its inode: only our own file is removed at the end.
    inode: u64,
    /// Who may connect.
    pub(super) gate: Gate,
    /// Locked while a daemon lives, and let go of by the system however it dies. So a lock that can be had means that a
    /// socket left there is stale.
    lock: File,
}

/// Decides about a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    /// The daemon's user.
    owner: u32,
    /// The configured group.
    group: Option<u32>,
}

impl Place {
    /// Takes the place and listens there.
    pub(super) fn take(path: &Path, group: Option<&str>) -> Result<(UnixListener, Self), ControlError> {
        let system = |e: io::Error| ControlError::System { path: path.to_path_buf(), reason: e.to_string() };
        let group = group.map(group_id).transpose()?;
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            DirBuilder::new().mode(0o755).create(folder).map_err(system)?;
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock_path(path));
        let lock = lock.map_err(system)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ControlError::InUse(path.to_path_buf())),
            Err(TryLockError::Error(e)) => return Err(system(e)),
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(system)?;
        // Until the mode is set the gate alone keeps others out.
        if let Some(group) = group {
            chown(path, None, Some(group)).map_err(system)?;
        }
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(system)?;
        let made = fs::metadata(path).map_err(system)?;
        let gate = Gate { owner: made.uid(), group };
        Ok((listener, Self { path: path.to_path_buf(), inode: made.ino(), gate, lock }))
    }

    /// Gives a file beside the socket to those who may connect.
    pub(super) fn share(&self, file: &Path) -> io::Result<()> {
        let Some(group) = self.gate.group else { return Ok(()) };
        chown(file, None, Some(group))?;
        fs::set_permissions(file, Permissions::from_mode(0o640))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            // Whoever finds it left over takes it for stale.
            let _ = fs::remove_file(&self.path);
        }
        // The lock's file stays: removing it could take it from a daemon that has just opened it.
        let _ = self.lock.unlock();
    }
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut path = socket.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Removes the socket of a daemon that is no more. Whoever holds the lock may; a listener without a lock is still seen.
fn remove_stale(path: &Path) -> Result<(), ControlError> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    if !found.file_type().is_socket() {
        return Err(ControlError::NotASocket(path.to_path_buf()));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(ControlError::InUse(path.to_path_buf()));
    }
    tracing::info!(path = %path.display(), "the socket of a dead daemon is replaced");
    fs::remove_file(path).map_err(|e| ControlError::System { path: path.to_path_buf(), reason: e.to_string() })
}

impl Gate {
    /// Whether this peer may speak. Its identity comes from the kernel (SO_PEERCRED) and cannot be made up.
    pub(super) fn admits(self, stream: &UnixStream) -> bool {
        let Ok(peer) = stream.peer_cred() else { return false };
        // Root can become any user anyway.
        peer.uid() == self.owner
            || peer.uid() == 0
            || self.group.is_some_and(|group| peer.gid() == group || is_member(peer.uid(), group))
    }
}

fn read_table(path: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect()
}

/// Number of a group, from /etc/group; other sources of groups are not asked.
fn group_id(name: &str) -> Result<u32, ControlError> {
    let row = read_table("/etc/group").into_iter().find(|row| row.len() > 3 && row[0] == name);
    let id = row.map_or_else(|| name.parse().ok(), |row| row[2].parse().ok());
    id.ok_or_else(|| ControlError::NoGroup(name.to_owned()))
}

/// Whether a user is listed in a group that is not their first. SO_PEERCRED names the first only.
fn is_member(user: u32, group: u32) -> bool {
    let id = |row: &Vec<String>| row.get(2).and_then(|id| id.parse::<u32>().ok());
    let users = read_table("/etc/passwd");
    let Some(name) = users.iter().find(|row| id(row) == Some(user)).map(|row| row[0].clone()) else { return false };
    let groups = read_table("/etc/group");
    let members = groups.iter().filter(|row| id(row) == Some(group)).filter_map(|row| row.get(3));
    members.flat_map(|list| list.split(',')).any(|member| member == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_name_and_number() {
        let check = |name: &str, expected: Option<u32>| assert_eq!(group_id(name).ok(), expected, "{name}");
        check("root", Some(0));
        check("4711", Some(4711));
        check("no such group", None);
        assert!(!is_member(4_000_000, 0));
    }
}
