//! What every engine refuses, so that a transaction that one engine takes all of them take.

use std::collections::HashSet;

use crate::{Error, Expect, Op, Result, Revision, Transaction};

/// Keys and values of one transaction, in bytes. etcd takes requests of 1.5 MiB (1,572,864 bytes) by default; the
/// difference leaves room for its framing and for the conditions.
pub const MAX_TRANSACTION_BYTES: usize = 1_536_000;

/// Operations and conditions of one transaction, each: etcd's default limit.
pub const MAX_TRANSACTION_OPS: usize = 128;

/// The first key after all keys with the prefix. Empty: there is none, which range ends read as "to the last key".
pub fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let kept = prefix.iter().rposition(|&byte| byte < 0xff).map_or(0, |last| last + 1);
    let mut end = prefix[..kept].to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

pub(crate) fn check(transaction: &Transaction) -> Result<()> {
    if transaction.ops.len().max(transaction.expect.len()) > MAX_TRANSACTION_OPS {
        return Err(Error::Refused(format!("more than {MAX_TRANSACTION_OPS} operations or conditions")));
    }
    let mut size = 0;
    for op in &transaction.ops {
        let (key, value) = op.parts();
        if key.is_empty() {
            return Err(Error::Refused("empty key".into()));
        }
        size += key.len() + value.map_or(0, |v| v.len());
    }
    if size > MAX_TRANSACTION_BYTES {
        return Err(Error::TooLarge { size, limit: MAX_TRANSACTION_BYTES });
    }
    if transaction.ops.len() > 1 {
        let mut seen = HashSet::with_capacity(transaction.ops.len());
        if let Some(op) = transaction.ops.iter().find(|op| !seen.insert(op.parts().0)) {
            return Err(Error::Refused(format!("key {} stands twice", String::from_utf8_lossy(op.parts().0))));
        }
    }
    Ok(())
}

impl Expect {
    pub(crate) fn holds(self, found: Option<Revision>) -> bool {
        match self {
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::At(revision) => found == Some(revision),
        }
    }
}

impl Op {
    pub(crate) fn parts(&self) -> (&bytes::Bytes, Option<&bytes::Bytes>) {
        match self {
            Op::Put { key, value } => (key, Some(value)),
            Op::Delete { key } => (key, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::prefix_end;

    #[test]
    fn prefix_ends_where_the_next_key_begins() {
        assert_eq!(prefix_end(b"/a/"), b"/a0");
        assert_eq!(prefix_end(b"a\xff\xff"), b"b");
        assert_eq!(prefix_end(b"\xff"), b"");
        assert_eq!(prefix_end(b""), b"");
    }
}
