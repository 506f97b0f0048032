//! tmpfiles.d(5) lines for the container's state.

use crate::name::ContainerName;
use crate::place;
use crate::record::VolumeSeed;

/// The directories that volumes lie in. The volumes themselves are the launcher's: it fills them when they are absent, so
/// nothing may make them before. 0700, so that setuid files in a volume are out of users' reach; the payload comes by
/// its mounts.
pub fn lines(name: &ContainerName, volumes: &[VolumeSeed]) -> Option<String> {
    let own = place::state_dir(name);
    let inside = |volume: &VolumeSeed| volume.host.as_str().starts_with(&format!("{own}/"));
    volumes.iter().any(inside).then(|| {
        // Both paths consist of characters that stand for themselves.
        format!("d {} 0755 root root -\nd {own} 0700 root root -\n", place::STATE_DIR)
    })
}
