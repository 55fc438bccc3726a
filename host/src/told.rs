//! An error and its causes as one line for a person. Many errors' own words end with their cause's, as a log wants them, so a cause that was said
//! is not said again.

use anyhow::Error;

pub fn told(error: &Error) -> String {
    let mut line = error.to_string();
    let mut said = line.clone();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !said.ends_with(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
        said = cause;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::told;
    use anyhow::{Context, anyhow};
    use pintle_apiserver::Storage;
    use pintle_apiserver::server::StartError;
    use pintle_apiserver::storage::{STORE_FILE, open_store};

    #[test]
    fn each_cause_is_said_once() {
        assert_eq!(told(&anyhow!("no such file").context("reading a").context("loading")), "loading: reading a: no such file");
    }

    #[tokio::test]
    async fn a_store_that_is_not_opened_says_why_and_no_more() {
        let folder = tempfile::tempdir().expect("a folder");
        let open = || async { open_store(&Storage::Embedded, folder.path()).await };
        open().await.expect("a new store").close().await.expect("its end");
        let journal = folder.path().join(format!("{STORE_FILE}.journal"));
        std::fs::remove_file(&journal).expect("a journal");
        let refused = open().await.map(drop).map_err(StartError::from).context("starting the API server").expect_err("no journal");
        let begins = format!("starting the API server: storage: the store's journal {} is gone, and with it", journal.display());
        let line = told(&refused);
        assert!(line.starts_with(&begins) && line.matches("is gone").count() == 1, "{line}");
    }
}
