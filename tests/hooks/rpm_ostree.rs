//! rpm-ostree: an executable in finalize.d, a treefile's postprocess-script, and the gap before `compose commit`. tests/hooks/rpm-ostree
//! is what stands around them.

use std::fs;
use std::path::{Path, PathBuf};

use sysctr_tests::{Command, Compose, Crafted, Layer, Listing, Mtimes, Output, crafted, source_dir};
use tempfile::TempDir;

use crate::{expect_composed, expect_runs, ostree_host, path, workshop};

const REF: &str = "example/x86_64/host";

/// A workshop as a directory of a treefile, with a repository to commit into.
struct Treefile {
    work: TempDir,
}

impl Treefile {
    fn with(names: &[&str]) -> Self {
        let work = workshop(names);
        // The stand-in reads no zstd by itself.
        let base = Command::new("zstd").args(["-dqf", "-o"]).arg(work.path().join("base.tar"));
        base.arg(ostree_host()).run().expect_ok();
        ostree(&work.path().join("repo"), &["init", "--mode=bare"]);
        Self { work }
    }

    fn join(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// A treefile without a script.
    fn plain(self) -> Self {
        fs::write(self.join("host.yaml"), format!("ref: {REF}\n")).expect("a step of the test");
        self
    }

    /// A command in the treefile's directory, with the stand-in called rpm-ostree in PATH.
    fn command(&self, program: &str) -> Command {
        let stand_in = source_dir().join("tests/hooks");
        let command = Command::new(program).in_dir(self.work.path());
        let command = command.env("PATH", format!("{}:{}", stand_in.display(), path(&self.work)));
        command.env("BASE_TREE", self.join("base.tar")).env("TMPDIR", self.work.path())
    }

    fn compose_tree(&self, options: &[&str]) -> Output {
        let command = self.command("rpm-ostree").args(["compose", "tree", "--repo=repo", "host.yaml"]);
        command.args(options).run()
    }

    /// What was committed: whole, with both containers; its containers run on a host that has it deployed.
    #[track_caller]
    fn expect_host(&self) {
        let root = self.checkout();
        expect_composed(&root);
        assert!(!root.join("etc").exists() && root.join("usr/etc").is_dir());
        // What a deployment does for /etc.
        Command::new("cp").arg("-a").arg(root.join("usr/etc")).arg(root.join("etc")).run().expect_ok();
        expect_runs(&root);
    }

    fn checkout(&self) -> PathBuf {
        ostree(&self.join("repo"), &["fsck", "--quiet"]);
        let root = self.join("checkout");
        ostree(&self.join("repo"), &["checkout", REF, root.to_str().expect("a step of the test")]);
        root
    }
}

fn ostree(repo: &Path, args: &[&str]) {
    Command::new("ostree").arg(format!("--repo={}", repo.display())).args(args).run().expect_ok();
}

#[test]
fn an_executable_in_finalize_d_embeds_before_the_commit() {
    let treefile = Treefile::with(&["rpm-ostree/finalize.d"]).plain();
    treefile.compose_tree(&["--unified-core"]).expect_ok();
    treefile.expect_host();
}

#[test]
fn a_failing_hook_ends_the_compose_without_a_commit() {
    let treefile = Treefile::with(&["rpm-ostree/finalize.d"]).plain();
    fs::remove_file(treefile.join("images/hello.tar")).expect("a step of the test");
    let failed = treefile.compose_tree(&["--unified-core"]).expect_code(1);
    assert!(failed.stderr().contains("images/hello.tar"), "{}", failed.story());
    let refs = Command::new("ostree").args(["--repo=repo", "refs"]).in_dir(treefile.work.path()).run();
    assert_eq!(refs.expect_ok().stdout(), "");
}

#[test]
fn between_install_and_commit() {
    let treefile = Treefile::with(&["rpm-ostree/build.sh"]).plain();
    treefile.command("./build.sh").args(["host.yaml", "repo"]).run().expect_ok();
    treefile.expect_host();
}

/// The treefile that brings tools and images by add-files.
fn with_script() -> Treefile {
    let treefile = Treefile::with(&["rpm-ostree/host.yaml", "rpm-ostree/postprocess.sh"]);
    for name in ["sysctr-compose", "sysctr"] {
        fs::rename(treefile.join("bin").join(name), treefile.join(name)).expect("a step of the test");
    }
    treefile
}

#[test]
fn a_postprocess_script_on_a_tree_of_its_own() {
    let treefile = with_script();
    treefile.compose_tree(&["--unified-core"]).expect_ok();
    treefile.expect_host();
    assert!(!treefile.join("checkout/usr/libexec/sysctr-build").exists(), "the tools are in the commit");
}

/// The tree is hard links into the repository of packages, behind rofiles-fuse.
#[track_caller]
fn expect_repository_intact(mode: &str) {
    let treefile = with_script();
    let packages = treefile.join("cache/pkgcache-repo");
    let first = treefile.command("rpm-ostree").env("CACHE_MODE", mode);
    // The first install makes the repository.
    let install = ["compose", "install", "--unified-core", "--cachedir=cache", "plain.yaml", "first"];
    fs::write(treefile.join("plain.yaml"), format!("ref: {REF}\n")).expect("a step of the test");
    first.args(install).run().expect_ok();
    let before = Listing::of(&packages.join("objects"));
    let command = treefile.command("rpm-ostree").env("CACHE_MODE", mode);
    let tree = ["compose", "tree", "--unified-core", "--cachedir=cache", "--repo=repo", "host.yaml"];
    command.args(tree).run().expect_ok();
    Listing::of(&packages.join("objects")).expect_same(&before, Mtimes::All);
    ostree(&packages, &["fsck", "--quiet"]);
    treefile.expect_host();
}

#[test]
fn a_postprocess_script_behind_rofiles_fuse_leaves_a_bare_repository_intact() {
    expect_repository_intact("bare");
}

#[test]
fn a_postprocess_script_behind_rofiles_fuse_leaves_a_bare_user_repository_intact() {
    expect_repository_intact("bare-user");
}

/// Lets the treefile compose an image with an attribute that rpm-ostree drops and a host file for /etc.
fn with_noted(treefile: &Treefile) {
    let layer = Layer::new().pax(&[("SCHILY.xattr.user.note", "kept by OCI")]).file("noted", "x");
    let layer = layer.dir("exports").dir("exports/hostfs").dir("exports/hostfs/etc");
    let layer = layer.file("exports/hostfs/etc/noted.conf", "noted\n");
    crafted::write(&Crafted::one(&layer).layout(), &treefile.join("images/noted"));
    let manifest = "group = 'host'\n[[container]]\nname = 'noted'\nimage = 'oci:images/noted'\n";
    fs::write(treefile.join("containers.toml"), manifest).expect("a step of the test");
}

/// A commit of rpm-ostree keeps capabilities and drops other attributes (docs/pipelines.md); `verify` names what lacks one.
#[test]
fn attributes_that_rpm_ostree_drops_are_found_by_verify_and_host_files_lie_in_usr_etc() {
    let treefile = Treefile::with(&["rpm-ostree/finalize.d"]).plain();
    with_noted(&treefile);
    treefile.compose_tree(&["--unified-core"]).expect_ok();
    let root = treefile.checkout();
    let verified = Compose::into_dir(&root).verb("verify").run().expect_code(1);
    let told = "error: noted: /usr/lib/containers/atomic/noted/rootfs/noted: attributes are none, not user.note=kept by OCI\n";
    assert!(verified.stdout().contains(told), "{}", verified.story());
    assert_eq!(verified.stdout().matches("error: ").count(), 1, "{}", verified.story());
    assert_eq!(fs::read_to_string(root.join("usr/etc/noted.conf")).expect("a step of the test"), "noted\n");
}

/// /usr and /etc are two mounts in the sandbox of a script.
#[test]
fn a_postprocess_script_gets_no_host_files_into_etc() {
    let treefile = with_script();
    with_noted(&treefile);
    // add-files brings files, so the layout comes as an archive.
    let archive = Command::new("tar").arg("-cf").arg(treefile.join("images/hello.tar"));
    archive.arg("-C").arg(treefile.join("images/noted")).arg(".").run().expect_ok();
    let manifest = fs::read_to_string(treefile.join("containers.toml")).expect("a step of the test");
    fs::write(
        treefile.join("containers.toml"),
        manifest.replace("oci:images/noted", "oci-archive:images/hello.tar"),
    )
    .expect("a step of the test");
    let failed = treefile.compose_tree(&["--unified-core"]).expect_code(1);
    let told = "which is as it was: changing etc/noted.conf: moving the new into its place: it is on another file system";
    assert!(failed.stderr().contains(told), "{}", failed.story());
}
