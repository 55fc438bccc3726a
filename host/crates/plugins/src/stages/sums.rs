//! What was counted of a candidate, as values that can be written, read and added: the sums of one server, and of several together.

use serde::{Deserialize, Serialize};

use super::spec::{CandidateStatus, Difference, Stage};
use super::tally::MAX_DIFFERENCES;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sums {
    pub compared: u64,
    pub agreed: u64,
    pub skipped: u64,
    pub feasible_differs: u64,
    pub faults: u64,
    /// Of all calls in the shadow, and how many those were.
    pub fuel: u64,
    pub metered: u64,
    /// The last decisions, over which the agreement is told, and how many of them agreed.
    pub looked_back: u64,
    pub agreed_lately: u64,
    pub last_fault: String,
    /// The last ones, oldest first.
    pub differences: Vec<Difference>,
}

/// `status.candidateByServer.IDENTITY`: where requests are judged on every server of a cluster, each writes what it counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServerSums {
    /// Of the spec that it counted for. Counting begins anew with each.
    pub generation: i64,
    /// Where it was reached when it wrote this.
    pub address: String,
    /// A canary that kept failing there was withdrawn: why.
    pub withdrawn: String,
    #[serde(flatten)]
    pub sums: Sums,
}

impl Sums {
    /// What a status tells of them. The look back begins anew.
    pub fn of(status: &CandidateStatus) -> Self {
        Self {
            compared: status.compared,
            agreed: status.agreed,
            skipped: status.skipped,
            feasible_differs: status.feasible_differs,
            faults: status.faults,
            differences: status.differences.clone(),
            ..Self::default()
        }
    }

    pub fn plus(mut self, other: &Self) -> Self {
        for (mine, theirs) in [
            (&mut self.compared, other.compared),
            (&mut self.agreed, other.agreed),
            (&mut self.skipped, other.skipped),
            (&mut self.feasible_differs, other.feasible_differs),
            (&mut self.faults, other.faults),
            (&mut self.fuel, other.fuel),
            (&mut self.metered, other.metered),
            (&mut self.looked_back, other.looked_back),
            (&mut self.agreed_lately, other.agreed_lately),
        ] {
            *mine = mine.saturating_add(theirs);
        }
        if self.last_fault.is_empty() {
            self.last_fault.clone_from(&other.last_fault);
        }
        self.differences.extend(other.differences.iter().cloned());
        self.differences.sort_by(|a, b| a.time.cmp(&b.time));
        let old = self.differences.len().saturating_sub(MAX_DIFFERENCES);
        self.differences.drain(..old);
        self
    }

    /// The agreement over the last decisions, where there were any.
    pub fn agreement(&self) -> Option<f64> {
        (self.looked_back > 0).then(|| self.agreed_lately as f64 / self.looked_back as f64)
    }

    pub fn write(self, status: &mut CandidateStatus) {
        status.agreement = self.agreement().map_or_else(String::new, percentage);
        status.fuel_per_call = self.fuel.checked_div(self.metered).unwrap_or_default();
        (status.compared, status.agreed, status.faults) = (self.compared, self.agreed, self.faults);
        (status.skipped, status.feasible_differs) = (self.skipped, self.feasible_differs);
        status.differences = self.differences;
        if status.stage == Stage::Shadow.name() || status.stage == Stage::Canary.name() {
            status.message = self.last_fault;
        }
    }
}

/// Never rounded up to all: one disagreement shows.
fn percentage(share: f64) -> String {
    format!("{}%", (share * 1000.0).floor() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(compared: u64, agreed: u64, times: &[&str]) -> Sums {
        let differences = times.iter().map(|time| Difference { time: (*time).to_owned(), ..Difference::default() }).collect();
        Sums { compared, agreed, looked_back: compared, agreed_lately: agreed, differences, ..Sums::default() }
    }

    #[test]
    fn servers_add_up_and_differences_stand_in_order() {
        let both = sums(10, 9, &["t1", "t4"]).plus(&sums(90, 90, &["t2"])).plus(&Sums { last_fault: "trapped".to_owned(), ..Sums::default() });
        let mut status = CandidateStatus { stage: "Shadow".to_owned(), ..CandidateStatus::default() };
        both.write(&mut status);
        assert_eq!((status.compared, status.agreed, status.agreement.as_str(), status.message.as_str()), (100, 99, "99%", "trapped"));
        assert_eq!(status.differences.iter().map(|d| d.time.as_str()).collect::<Vec<_>>(), ["t1", "t2", "t4"]);
        let many = (0..5).fold(Sums::default(), |all, n| all.plus(&sums(0, 0, &[&format!("a{n}"), &format!("b{n}"), &format!("c{n}")])));
        assert_eq!((many.differences.len(), many.differences[0].time.as_str()), (MAX_DIFFERENCES, "b0"));
    }

    #[test]
    fn what_one_server_writes_is_what_another_reads() {
        let written = ServerSums { generation: 3, address: "10.0.0.1:6443".to_owned(), withdrawn: String::new(), sums: sums(10, 9, &["t1"]) };
        let json = serde_json::to_value(&written).expect("JSON");
        assert_eq!((&json["generation"], &json["lookedBack"]), (&3.into(), &10.into()));
        assert_eq!(serde_json::from_value::<ServerSums>(json).expect("the same"), written);
    }
}
