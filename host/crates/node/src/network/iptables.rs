//! Rules as data, the difference between two sets as input for `iptables-restore`, and the tool itself.
//!
//! The machine may have iptables over nftables, over the older tables, or both: [`Tool::choose`] takes the first that works here.
//! One batch at a time is applied, as a whole or not at all, and never touches a chain that it does not name.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Stdio;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

/// How long a program waits for another that holds the tables' lock, in seconds.
const LOCK_WAIT_SECONDS: &str = "10";
/// Programs for each flavour: look, save, restore. The machine's own choice comes first, as the CNI plugins use that one.
const FLAVOURS: &[[&str; 3]] = &[
    ["iptables", "iptables-save", "iptables-restore"],
    ["iptables-nft", "iptables-nft-save", "iptables-nft-restore"],
    ["iptables-legacy", "iptables-legacy-save", "iptables-legacy-restore"],
];
/// Everything that our rules use, in a chain that goes again at once.
const PROBE: &str = "*nat\n:PINTLE-PROBE - [0:0]\n\
    -A PINTLE-PROBE -m comment --comment probe -m statistic --mode random --probability 0.5 -j RETURN\n\
    -A PINTLE-PROBE -m mark --mark 0x4000/0x4000 -j MARK --xor-mark 0x4000\n\
    -A PINTLE-PROBE -m addrtype --dst-type LOCAL -p tcp -m tcp -j DNAT --to-destination 127.0.0.1:1\n\
    -A PINTLE-PROBE -m conntrack --ctstate NEW -j RETURN\nCOMMIT\n";
const PROBE_RECENT: &str =
    "*nat\n:PINTLE-PROBE - [0:0]\n-A PINTLE-PROBE -m recent --name PINTLE-PROBE --rcheck --seconds 1 --reap -j RETURN\nCOMMIT\n";
const PROBE_END: &str = "*nat\n:PINTLE-PROBE - [0:0]\n-X PINTLE-PROBE\nCOMMIT\n";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no iptables works here: {0}")]
    NoneWorks(String),
    #[error("{program}: {message}")]
    Failed { program: String, message: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Filter,
    Nat,
}

/// A rule in a chain of the kernel's that leads to one of ours.
pub struct Jump {
    pub table: Table,
    pub from: &'static str,
    pub to: &'static str,
    /// As `iptables -S` prints them.
    pub matches: &'static str,
    /// Before all other rules, or after them.
    pub first: bool,
}

/// Chains with their rules, without the `-A CHAIN` before each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleSet {
    tables: BTreeMap<Table, BTreeMap<String, Vec<String>>>,
}

impl Table {
    pub fn name(self) -> &'static str {
        match self {
            Table::Filter => "filter",
            Table::Nat => "nat",
        }
    }
}

impl RuleSet {
    /// The chain's rules; an empty chain is made.
    pub fn chain(&mut self, table: Table, name: &str) -> &mut Vec<String> {
        let chains = self.tables.entry(table).or_default();
        if !chains.contains_key(name) {
            chains.insert(name.to_owned(), Vec::new());
        }
        chains.get_mut(name).expect("made above")
    }

    pub fn insert(&mut self, table: Table, name: String, rules: Vec<String>) {
        self.tables.entry(table).or_default().insert(name, rules);
    }

    /// A chain of which only the name is known: it differs from every wanted one.
    pub fn insert_unknown(&mut self, table: Table, name: &str) {
        self.insert(table, name.to_owned(), vec!["unknown".to_owned()]);
    }

    pub fn rule_count(&self) -> usize {
        self.tables.values().flat_map(BTreeMap::values).map(Vec::len).sum()
    }

    /// Input for `iptables-restore --noflush` that leads from the older set to this one; empty where nothing differs.
    pub fn changes_since(&self, older: &RuleSet) -> String {
        let mut text = String::new();
        let none = BTreeMap::new();
        for table in [Table::Filter, Table::Nat] {
            let (now, before) = (self.tables.get(&table).unwrap_or(&none), older.tables.get(&table).unwrap_or(&none));
            let changed: Vec<_> = now.iter().filter(|(name, rules)| before.get(*name) != Some(rules)).collect();
            let gone: Vec<_> = before.keys().filter(|name| !now.contains_key(*name)).collect();
            if changed.is_empty() && gone.is_empty() {
                continue;
            }
            let _ = writeln!(text, "*{}", table.name());
            // Naming a chain makes or empties it; only then can rules lead to it, and only empty ones can be deleted.
            for name in changed.iter().map(|(name, _)| *name).chain(gone.iter().copied()) {
                let _ = writeln!(text, ":{name} - [0:0]");
            }
            for (name, rules) in changed {
                for rule in rules {
                    let _ = writeln!(text, "-A {name} {rule}");
                }
            }
            for name in gone {
                let _ = writeln!(text, "-X {name}");
            }
            text.push_str("COMMIT\n");
        }
        text
    }
}

/// The iptables programs of this machine, used one batch at a time.
pub struct Tool {
    programs: [&'static str; 3],
    /// Whether the kernel remembers addresses (`-m recent`), for sticky services.
    pub has_recent: bool,
    one_at_a_time: Mutex<()>,
}

impl Tool {
    /// Tries each flavour with rules such as ours.
    pub async fn choose() -> Result<Arc<Self>, Error> {
        let mut faults = Vec::new();
        for programs in FLAVOURS {
            let mut tool = Self { programs: *programs, has_recent: true, one_at_a_time: Mutex::default() };
            match tool.restore(PROBE).await {
                Ok(()) => {
                    tool.has_recent = tool.restore(PROBE_RECENT).await.is_ok();
                    tool.restore(PROBE_END).await?;
                    tracing::info!(program = programs[0], recent = tool.has_recent, "chose an iptables");
                    return Ok(Arc::new(tool));
                }
                Err(error) => faults.push(error.to_string()),
            }
        }
        Err(Error::NoneWorks(faults.join("; ")))
    }

    /// Applies a batch to the chains that it names, and to nothing else.
    pub async fn restore(&self, batch: &str) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let program = self.programs[2];
        let failed = |message: String| Error::Failed { program: program.to_owned(), message };
        let _guard = self.one_at_a_time.lock().await;
        let mut child = tokio::process::Command::new(program)
            .args(["--noflush", "-w", LOCK_WAIT_SECONDS])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        let mut stdin = child.stdin.take().expect("piped above");
        // A program that ends early closes the pipe; its exit status and message say why.
        let _ = stdin.write_all(batch.as_bytes()).await;
        drop(stdin);
        let output = child.wait_with_output().await.map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(explain(&String::from_utf8_lossy(&output.stderr), batch)))
    }

    /// The names of a table's chains.
    pub async fn chains(&self, table: Table) -> Result<Vec<String>, Error> {
        self.look(move |look| look.list_chains(table.name())).await
    }

    pub async fn chain_exists(&self, table: Table, chain: &'static str) -> Result<bool, Error> {
        self.look(move |look| look.chain_exists(table.name(), chain)).await
    }

    /// Input for [`Self::restore`] that puts in the jumps which are not there, and takes out those that are there more than once.
    pub async fn mended_jumps(&self, jumps: &'static [Jump]) -> Result<String, Error> {
        let present = self
            .look(move |look| {
                let mut chains: Vec<(Table, &str)> = jumps.iter().map(|j| (j.table, j.from)).collect();
                chains.sort_unstable();
                chains.dedup();
                chains.into_iter().map(|(table, chain)| Ok(((table, chain), look.list(table.name(), chain)?))).collect::<Result<BTreeMap<_, _>, _>>()
            })
            .await?;
        Ok(mend_jumps(&present, jumps))
    }

    /// Looks through the iptables crate, which blocks.
    async fn look<T: Send + 'static>(
        &self,
        how: impl FnOnce(&iptables::IPTables) -> Result<T, Box<dyn std::error::Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let program = self.programs[0];
        let failed = move |message: String| Error::Failed { program: program.to_owned(), message };
        // What is printed while somebody writes may be without rules that are there.
        let _guard = self.one_at_a_time.lock().await;
        let answer = tokio::task::spawn_blocking(move || {
            let look = iptables::IPTables { cmd: program, has_check: true, has_wait: true, is_numeric: true };
            how(&look).map_err(|e| e.to_string())
        });
        answer.await.map_err(|e| failed(e.to_string()))?.map_err(failed)
    }
}

/// Other programs write to the same tables, so a look may have missed a jump that was there and a second one was put in.
fn mend_jumps(present: &BTreeMap<(Table, &str), Vec<String>>, jumps: &[Jump]) -> String {
    let mut text = String::new();
    for table in [Table::Filter, Table::Nat] {
        let mut lines = String::new();
        for jump in jumps.iter().filter(|j| j.table == table) {
            let Jump { from, to, matches, first, .. } = jump;
            match count(present, jump) {
                0 => _ = writeln!(lines, "{} {from} {matches} -j {to}", if *first { "-I" } else { "-A" }),
                there => (1..there).for_each(|_| _ = writeln!(lines, "-D {from} {matches} -j {to}")),
            }
        }
        if !lines.is_empty() {
            let _ = write!(text, "*{}\n{lines}COMMIT\n", table.name());
        }
    }
    text
}

/// A chain's own jumps differ by target; comments and spelling may be printed otherwise than they were given.
fn count(present: &BTreeMap<(Table, &str), Vec<String>>, jump: &Jump) -> usize {
    let end = format!("-j {}", jump.to);
    present.get(&(jump.table, jump.from)).map_or(0, |rules| rules.iter().filter(|r| r.ends_with(&end)).count())
}

/// The program names a line by its number: add the line.
fn explain(message: &str, batch: &str) -> String {
    let number = message
        .split_once("line")
        .and_then(|(_, rest)| rest.trim_start_matches([':', ' ']).split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok());
    let line = number.and_then(|n| batch.lines().nth(n.checked_sub(1)?)).unwrap_or("");
    format!("{} [{line}]", message.trim().lines().next().unwrap_or(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn only_changed_chains_are_written() {
        let mut before = RuleSet::default();
        before.chain(Table::Nat, "A").push("-j B".into());
        before.chain(Table::Nat, "B").push("-j RETURN".into());
        before.chain(Table::Nat, "SAME").push("-j RETURN".into());
        let mut after = RuleSet::default();
        after.chain(Table::Nat, "A").push("-j C".into());
        after.chain(Table::Nat, "C");
        after.chain(Table::Nat, "SAME").push("-j RETURN".into());
        expect![[r"
            *nat
            :A - [0:0]
            :C - [0:0]
            :B - [0:0]
            -A A -j C
            -X B
            COMMIT
        "]]
        .assert_eq(&after.changes_since(&before));
        assert_eq!(after.changes_since(&after), "");
    }
    #[test]
    fn a_jump_is_there_once() {
        let jump = |to| Jump { table: Table::Nat, from: "POSTROUTING", to, matches: "-m comment --comment \"ours\"", first: false };
        let rule = |to: &str| format!("-A POSTROUTING -m comment --comment ours -j {to}");
        let present = BTreeMap::from([((Table::Nat, "POSTROUTING"), vec![rule("ONCE"), rule("THRICE"), rule("THRICE"), rule("THRICE")])]);
        expect![[r#"
            *nat
            -A POSTROUTING -m comment --comment "ours" -j MISSING
            -D POSTROUTING -m comment --comment "ours" -j THRICE
            -D POSTROUTING -m comment --comment "ours" -j THRICE
            COMMIT
        "#]]
        .assert_eq(&mend_jumps(&present, &[jump("ONCE"), jump("MISSING"), jump("THRICE")]));
        assert_eq!(mend_jumps(&present, &[jump("ONCE")]), "");
    }
}
