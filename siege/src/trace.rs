//! The system calls of a running host: read, or made to fail.
use anyhow::{Result, bail, ensure};
use countersign_test_kit::project;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread::sleep,
    time::Duration,
};

/// A strace that has hold of a process. Dropping it lets the process go.
pub(crate) struct Trace {
    strace: Child,
    file: PathBuf,
}

impl Trace {
    /// Takes hold of a process and all its threads. The calls and what becomes of them are among `options`.
    pub(crate) fn attach(process: u32, file: &Path, options: &[&str]) -> Result<Self> {
        let strace = "strace is not installed; `cargo xtask siege` installs it";
        ensure!(project::which("strace").is_some(), strace);
        let mut command = project::command("strace");
        command.args(["-f", "-y", "-e", "signal=none", "-p", &process.to_string(), "-o"]).arg(file);
        let own =
            Self { strace: command.args(options).stderr(Stdio::null()).spawn()?, file: file.to_owned() };
        for _ in 0..500 {
            if is_traced(process)? {
                return Ok(own);
            }
            sleep(Duration::from_millis(20));
        }
        bail!("strace does not get hold of the host")
    }

    /// Lets go, and answers what was seen.
    pub(crate) fn end(mut self) -> Result<String> {
        kill_process(Pid::from_child(&self.strace), Signal::INT)?;
        self.strace.wait()?;
        Ok(String::from_utf8_lossy(&fs::read(&self.file)?).into_owned())
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

/// Whether every thread has a tracer.
fn is_traced(process: u32) -> Result<bool> {
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        // One that has ended meanwhile needs none.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else { continue };
        if status.lines().any(|line| line.starts_with("TracerPid:") && line.ends_with("\t0")) {
            return Ok(false);
        }
    }
    Ok(true)
}
