//! Owns the last resort: a small shell that ends our child processes if this process dies without doing so.
//! Never acts while this process lives: it waits on a pipe that the kernel closes at our death.
//! Invariant: after a `kill -9` of the demo no process and no folder of it stays.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// Lines in: `pid N` watches a process, `done` ends the watch. End of input: our process died.
const SCRIPT: &str = r#"
pids=
while read -r word value; do
    case $word in
        pid) pids="$pids $value" ;;
        done) exit 0 ;;
    esac
done
for pid in $pids; do kill -INT "$pid" 2>/dev/null; done
tries=0
for pid in $pids; do
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -lt 50 ]; do sleep 0.2; tries=$((tries + 1)); done
    kill -KILL "$pid" 2>/dev/null
done
rm -rf -- "$1"
"#;

/// The shell that watches.
pub struct Minder {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Minder {
    /// Starts it; `folder` is removed with the processes.
    pub fn start(folder: &Path) -> std::io::Result<Self> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "noctus-demo-minder"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A group of its own: Ctrl-C is for us, who then end the children in order.
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Watches one more process.
    pub fn watch(&mut self, pid: u32) -> std::io::Result<()> {
        match &mut self.pipe {
            Some(pipe) => writeln!(pipe, "pid {pid}"),
            None => Ok(()),
        }
    }

    /// Everything has ended in order: no need to watch.
    pub fn done(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            // If it is gone already there is nobody to tell.
            let _ = writeln!(pipe, "done");
            drop(pipe);
            let _ = self.shell.wait();
        }
    }
}

impl Drop for Minder {
    fn drop(&mut self) {
        self.end();
    }
}
