//! The system packages of Debian and Ubuntu that running needs. Building needs Rust and a C linker only: everything graphical is opened at run time.

use crate::command::{Workspace, answers, line, succeed};
use anyhow::{Result, bail};
use std::io::IsTerminal;
use std::process::Command;

/// What a window needs: X11, Wayland, keyboard, GL and Vulkan, fonts, the portal of file dialogs.
pub const WINDOW: &[&str] = &[
    "libx11-6",
    "libx11-xcb1",
    "libxcursor1",
    "libxi6",
    "libxrandr2",
    "libxkbcommon0",
    "libxkbcommon-x11-0",
    "libwayland-client0",
    "libwayland-egl1",
    "libegl1",
    "libgl1-mesa-dri",
    "libvulkan1",
    "mesa-vulkan-drivers",
    "libfontconfig1",
    "libdbus-1-3",
];

/// What the tests' GPU needs: Mesa's lavapipe is a Vulkan device on any CPU.
const VULKAN: &[&str] = &["libvulkan1", "mesa-vulkan-drivers"];

/// What the tests need: a Vulkan device, and Python and npm where the system has none of its own making.
pub fn for_tests(workspace: &Workspace) -> Vec<&'static str> {
    let mut packages = VULKAN.to_vec();
    if !answers(workspace.command("python3").args(["-c", "import ensurepip, venv"])) {
        packages.extend(["python3", "python3-venv"]);
    }
    if !answers(workspace.command("npm").arg("--version")) {
        packages.push("npm");
    }
    packages
}

/// Installs what is missing of `packages`: as root, or through sudo where that needs no password or there is a terminal to ask on.
///
/// # Errors
/// When packages are missing and cannot be installed from here: the error holds the line to run.
pub fn ensure(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    if !cfg!(target_os = "linux") {
        return Ok(());
    }
    if !answers(workspace.command("apt-get").arg("--version")) {
        println!("Not Debian or Ubuntu: these packages' counterparts have to be there: {}", packages.join(" "));
        return Ok(());
    }
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(workspace, package)).collect();
    if missing.is_empty() {
        println!("system packages: all {} there", packages.len());
        return Ok(());
    }
    println!("system packages missing: {}", missing.join(" "));
    let Some(prefix) = privilege(workspace) else {
        bail!("run this line once, then try again:\n\n    sudo apt-get update && sudo apt-get install -y --no-install-recommends {}\n", missing.join(" "));
    };
    let apt = |args: &[&str]| -> Command {
        let words: Vec<&str> = prefix.iter().chain(&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]).chain(args).copied().collect();
        let mut command = workspace.command(words[0]);
        command.args(&words[1..]);
        command
    };
    succeed(&mut apt(&["update", "-q"]))?;
    let mut install = apt(&["install", "-q", "-y", "--no-install-recommends"]);
    install.args(&missing);
    println!("{}", line(&install));
    succeed(&mut install)
}

fn installed(workspace: &Workspace, package: &str) -> bool {
    // `ii` is wanted and installed; a removed package whose configuration stayed also has an entry.
    let output = workspace.command("dpkg-query").args(["--show", "--showformat=${db:Status-Abbrev}", package]).output();
    output.is_ok_and(|output| output.stdout.starts_with(b"ii"))
}

/// The words before a command that make it run as root, or none when there is no way.
fn privilege(workspace: &Workspace) -> Option<&'static [&'static str]> {
    let output = workspace.command("id").arg("-u").output().ok()?;
    if output.stdout.trim_ascii() == b"0" {
        return Some(&[]);
    }
    if answers(workspace.command("sudo").args(["-n", "true"])) {
        return Some(&["sudo", "-n"]);
    }
    (std::io::stdin().is_terminal() && answers(workspace.command("sudo").arg("--version"))).then_some(&["sudo"])
}
