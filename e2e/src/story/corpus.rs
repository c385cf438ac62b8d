//! The API server and `validate` judge the same inputs the same way.

use anyhow::ensure;

use super::{Stage, Telling};
use crate::corpus;

/// Every row of the corpus, sent to the API server: accepted or refused as the row says, with the words it demands.
pub fn both_judges_agree(stage: &Stage) -> Telling<'_> {
    Box::pin(async {
        let rows = corpus::read(&stage.repo)?;
        let tally = corpus::online(&stage.client, &rows).await?;
        stage.progress.note(format!(
            "{} accepted, {} refused, {} numbered bad inputs among them",
            tally.accepted, tally.refused, tally.bad_inputs
        ));
        ensure!(tally.accepted > 0 && tally.refused > 0, "the corpus is one-sided: {tally:?}");
        Ok(())
    })
}
