//! Takes back what network, proxy and the CNI plugins made in a network namespace: rules, chains, routes, the bridge and its cables.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::NetworkError;
use super::interfaces::{BRIDGE, ROUTE_PROTOCOL};

/// Chains whose names begin so are ours, kube-proxy's kind, or the CNI plugins'.
const PREFIXES: &[&str] = &["KUBE-", "PINTLE-", "CNI-"];
const FLAVOURS: &[[&str; 2]] = &[["iptables-nft-save", "iptables-nft-restore"], ["iptables-legacy-save", "iptables-legacy-restore"]];
const TABLES: &[&str] = &["filter", "nat", "mangle"];

/// In the namespace of that name, or in the process's own. Does nothing where there is nothing; goes on after a failure and tells the first.
pub fn clean_up(netns: Option<&str>) -> Result<(), NetworkError> {
    if netns.is_some_and(|name| !Path::new("/run/netns").join(name).exists()) {
        return Ok(());
    }
    let place = Place { netns: netns.map(str::to_owned) };
    let mut outcome = Ok(());
    for [save, restore] in FLAVOURS {
        outcome = outcome.and(place.clean_rules(save, restore));
    }
    place.drop_empty_nft_tables();
    outcome.and(place.clean_links())
}

struct Place {
    netns: Option<String>,
}

impl Place {
    fn command(&self, program: &str) -> Command {
        match &self.netns {
            None => Command::new(program),
            Some(netns) => {
                let mut command = Command::new("nsenter");
                command.arg(format!("--net=/run/netns/{netns}")).arg(program);
                command
            }
        }
    }

    /// The output; `None` where the program is missing or fails.
    fn ask(&self, program: &str, arguments: &[&str]) -> Option<String> {
        let output = self.command(program).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn clean_rules(&self, save: &str, restore: &str) -> Result<(), NetworkError> {
        // Looking at a legacy table makes it: only those that are there.
        let made = save.contains("legacy").then(|| self.ask("cat", &["/proc/net/ip_tables_names"]).unwrap_or_default());
        for table in TABLES.iter().filter(|t| made.as_ref().is_none_or(|m| m.lines().any(|l| l == **t))) {
            let Some(text) = self.ask(save, &["-t", table]) else { continue };
            let batch = removal(table, &text);
            if !batch.is_empty() {
                self.restore(restore, &batch)?;
            }
        }
        Ok(())
    }

    fn restore(&self, program: &str, batch: &str) -> Result<(), NetworkError> {
        let failed = |message: String| NetworkError::Command { command: program.to_owned(), message };
        let mut child = self
            .command(program)
            .args(["--noflush", "-w", "10"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| failed(e.to_string()))?;
        if let Some(mut stdin) = child.stdin.take() {
            let _ = stdin.write_all(batch.as_bytes());
        }
        let output = child.wait_with_output().map_err(|e| failed(e.to_string()))?;
        if output.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned())) }
    }

    /// iptables over nftables leaves its tables behind; those that hold no rule any more say nothing and go.
    fn drop_empty_nft_tables(&self) {
        for table in TABLES {
            if let Some(text) = self.ask("nft", &["list", "table", "ip", table])
                && is_empty_table(&text)
            {
                let _ = self.ask("nft", &["delete", "table", "ip", table]);
            }
        }
    }

    fn clean_links(&self) -> Result<(), NetworkError> {
        let _ = self.ask("ip", &["-4", "route", "flush", "proto", ROUTE_PROTOCOL]);
        let Some(ports) = self.ask("ip", &["-o", "link", "show", "master", BRIDGE]) else { return Ok(()) };
        for cable in ports.lines().filter_map(link_name) {
            let _ = self.ask("ip", &["link", "del", cable]);
        }
        let _ = self.ask("ip", &["link", "del", BRIDGE]);
        match self.ask("ip", &["link", "show", "dev", BRIDGE]) {
            None => Ok(()),
            Some(_) => Err(NetworkError::Command { command: format!("ip link del {BRIDGE}"), message: "the bridge stays".into() }),
        }
    }
}

/// Input for `iptables-restore --noflush` that removes our chains and all rules that lead to them.
fn removal(table: &str, saved: &str) -> String {
    let chains: BTreeSet<&str> = saved.lines().filter_map(|l| l.strip_prefix(':')?.split(' ').next()).filter(|c| is_ours(c)).collect();
    let mut text = format!("*{table}\n");
    for chain in &chains {
        let _ = writeln!(text, ":{chain} - [0:0]");
    }
    let mut jumps = 0;
    for rule in saved.lines().filter_map(|l| l.strip_prefix("-A ")) {
        let from = rule.split(' ').next().unwrap_or("");
        let to = rule.rsplit_once(" -j ").or_else(|| rule.rsplit_once(" -g ")).map_or("", |(_, to)| to.split(' ').next().unwrap_or(""));
        if !is_ours(from) && is_ours(to) {
            let _ = writeln!(text, "-D {rule}");
            jumps += 1;
        }
    }
    if chains.is_empty() && jumps == 0 {
        return String::new();
    }
    for chain in &chains {
        let _ = writeln!(text, "-X {chain}");
    }
    text.push_str("COMMIT\n");
    text
}

fn is_ours(chain: &str) -> bool {
    PREFIXES.iter().any(|p| chain.starts_with(p))
}

fn is_empty_table(listing: &str) -> bool {
    let says_nothing = |line: &str| {
        let line = line.trim();
        line.is_empty()
            || line == "}"
            || line.starts_with('#')
            || line.starts_with("table ")
            || line.starts_with("chain ")
            || (line.starts_with("type ") && line.contains("policy accept"))
    };
    listing.lines().all(says_nothing)
}

/// `7: veth1a2b@if2: <...` names veth1a2b.
fn link_name(line: &str) -> Option<&str> {
    line.split(": ").nth(1)?.split('@').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn only_our_chains_and_the_ways_to_them_go() {
        let saved = "*nat\n:PREROUTING ACCEPT [1:60]\n:DOCKER - [0:0]\n:KUBE-SERVICES - [0:0]\n:CNI-HOSTPORT-DNAT - [0:0]\n\
            -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n\
            -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
            -A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT\n\
            -A KUBE-SERVICES -d 10.96.0.1/32 -j KUBE-SVC-X\nCOMMIT\n";
        expect![[r#"
            *nat
            :CNI-HOSTPORT-DNAT - [0:0]
            :KUBE-SERVICES - [0:0]
            -D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
            -D PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
            -X CNI-HOSTPORT-DNAT
            -X KUBE-SERVICES
            COMMIT
        "#]]
        .assert_eq(&removal("nat", saved));
        assert_eq!(removal("nat", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j DOCKER\nCOMMIT\n"), "");
    }
}
