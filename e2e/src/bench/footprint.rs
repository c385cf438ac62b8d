//! How large what is shipped is.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Report;
use super::rig::Bench;
use super::table::Row;
use crate::image::{self, Image};

/// Measures binary and image; memory comes with P3.
pub fn measure(bench: &Bench) -> Result<Report> {
    let image = image::archive(Image::Operator, &bench.progress)?;
    let rows = vec![
        Row::plain("size", "MiB static binary", mebibytes(&bench.binary)?),
        Row::plain("size", "MiB image, uncompressed", mebibytes(&image)?),
    ];
    Ok(Report { rows, notes: Vec::new() })
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files are small")]
fn mebibytes(path: &Path) -> Result<f64> {
    let length = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    Ok(length as f64 / 1024.0 / 1024.0)
}
