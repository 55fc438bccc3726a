//! Runs a table's commands against a cluster, in a namespace and with a home of the table's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::files::{Mode, Table, output, words};

/// How long a watch may take to print what the golden has of it, and what is repeated may take to succeed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a watch is given where nothing says what it will print.
const WATCH_SETTLES: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

struct Session<'a> {
    kubectl: &'a Path,
    folder: &'a Path,
    home: tempfile::TempDir,
}

/// What each command printed, in order.
pub fn run(table: &Table, kubectl: &Path, kubeconfig: &Path, folder: &Path, wait: bool) -> Vec<String> {
    let session = Session { kubectl, folder, home: tempfile::tempdir().expect("a temporary folder") };
    std::fs::copy(kubeconfig, session.home.path().join("config")).expect("the kubeconfig");
    let namespace = format!("golden-{}", table.name);
    session.must(&["create", "namespace", &namespace]);
    session.must(&["config", "set-context", "--current", "--namespace", &namespace]);
    session.must(&["wait", "--for=create", "serviceaccount/default", "--timeout=30s"]);
    session.must(&["wait", "--for=create", "configmap/kube-root-ca.crt", "--timeout=30s"]);
    let mut outputs = vec![String::new(); table.commands.len()];
    let mut beside = Vec::new();
    for (at, command) in table.commands.iter().enumerate() {
        match command.mode {
            Mode::Once => outputs[at] = session.output(&command.line).0,
            Mode::UntilItSucceeds => outputs[at] = session.success(&command.line),
            Mode::Beside => beside.push((at, session.start(at, &command.line))),
        }
    }
    for (at, watch) in beside {
        let lines = if wait { table.commands[at].output.lines().count() } else { usize::MAX };
        outputs[at] = watch.end(lines, if wait { PATIENCE } else { WATCH_SETTLES });
    }
    session.must(&["delete", "namespace", &namespace, "--wait=false"]);
    outputs
}

impl Session<'_> {
    fn command(&self) -> Command {
        let mut command = Command::new(self.kubectl);
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", self.home.path()).env("TZ", "UTC").env("KUBECONFIG", self.home.path().join("config"));
        // What `edit` opens: it makes every red thing blue.
        command.env("KUBE_EDITOR", "sed -i s/red/blue/").env("KUBECTL_EXTERNAL_DIFF", "diff -u -N").current_dir(self.folder).stdin(Stdio::null());
        command
    }

    fn must(&self, args: &[&str]) {
        let output = self.command().args(args).output().expect("kubectl starts");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What it printed, and whether it succeeded.
    fn output(&self, line: &str) -> (String, bool) {
        let done = self.command().args(words(line)).output().expect("kubectl starts");
        let text = output(&String::from_utf8_lossy(&done.stdout), &String::from_utf8_lossy(&done.stderr), done.status.code().unwrap_or(-1));
        (text, done.status.success())
    }

    fn success(&self, line: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let (text, success) = self.output(line);
            if success || Instant::now() >= end {
                return text;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Starts a watch, and returns when it has printed something: what is done from now on, it sees.
    fn start(&self, at: usize, line: &str) -> Watch {
        let file = self.home.path().join(format!("watch-{at}"));
        let written = std::fs::OpenOptions::new().create(true).append(true).open(&file).expect("a file");
        let process = self.command().args(words(line)).stdout(written).stderr(Stdio::null()).spawn().expect("kubectl starts");
        let watch = Watch { process, file };
        watch.wait(1, PATIENCE);
        watch
    }
}

struct Watch {
    process: Child,
    file: PathBuf,
}

impl Watch {
    /// What it printed, once these are so many lines.
    fn wait(&self, lines: usize, patience: Duration) -> String {
        let end = Instant::now() + patience;
        loop {
            let text = std::fs::read_to_string(&self.file).expect("is text");
            if text.lines().count() >= lines || Instant::now() >= end {
                return text;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn end(&self, lines: usize, patience: Duration) -> String {
        let text = self.wait(lines, patience);
        output(&text, "", 0)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
