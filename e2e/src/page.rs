//! The operator's pages, as a prober or a scraper reads them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What every metric of the operator begins with.
const PREFIX: &str = "goproxy_operator_";

/// One scrape.
#[derive(Clone, Debug)]
pub struct Page(String);

impl Page {
    /// Scrapes a page, such as `/metrics`, of a port of this machine.
    pub async fn get(port: u16, path: &str) -> Result<Self> {
        let exchange = async {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            Ok::<_, std::io::Error>(text)
        };
        let text = tokio::time::timeout(Duration::from_secs(5), exchange).await.context("no answer within 5 s")??;
        Ok(Self(text))
    }

    /// A page with this text.
    #[cfg(test)]
    pub fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether the page was found, and says that all is well.
    pub fn is_ok(&self) -> bool {
        self.0.split_whitespace().nth(1) == Some("200")
    }

    /// Whether each of this many fleets was looked at once, and none waits to be looked at.
    pub fn has_looked_at(&self, fleets: usize) -> bool {
        let fleets = f64::from(u32::try_from(fleets).unwrap_or(u32::MAX));
        self.sum("fleets", &[]) >= fleets && self.sum("queue_depth", &[]) < 1.0
    }

    /// The text that came.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The sum of the samples of a metric whose labels contain all of these texts.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.samples(name)
            .filter(|(found, _)| labels.iter().all(|label| found.contains(label)))
            .map(|(_, value)| value)
            .sum()
    }

    /// Labels and value of each sample of a metric.
    pub fn samples<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(PREFIX)?.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, value.parse().ok()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_found_by_name_and_label() {
        let page = Page(
            "HTTP/1.0 200 OK\r\n\r\n# TYPE goproxy_operator_fleets gauge\ngoproxy_operator_fleets{state=\"Healthy\"} 7\n\
             goproxy_operator_fleets{state=\"Stopped\"} 2\ngoproxy_operator_fleets_lost 5\ngoproxy_operator_queue_depth 3\n"
                .to_owned(),
        );
        assert!((page.sum("fleets", &[]) - 9.0).abs() < f64::EPSILON);
        assert!((page.sum("fleets", &["state=\"Healthy\""]) - 7.0).abs() < f64::EPSILON);
        assert!((page.sum("queue_depth", &[]) - 3.0).abs() < f64::EPSILON);
        assert!(page.sum("nonesuch", &[]).abs() < f64::EPSILON);
    }

    #[test]
    fn all_are_looked_at_when_enough_are_known_and_none_waits() {
        let page = |known: u8, waiting: u8| {
            Page::of(&format!(
                "HTTP/1.0 200 OK\r\n\r\ngoproxy_operator_fleets{{state=\"Healthy\"}} {known}\n\
                 goproxy_operator_queue_depth {waiting}\n"
            ))
        };
        assert!(page(10, 0).is_ok() && page(10, 0).has_looked_at(10));
        assert!(!page(9, 0).has_looked_at(10));
        assert!(!page(10, 1).has_looked_at(10));
        assert!(!Page::of("HTTP/1.1 503 Service Unavailable\r\n\r\nwaiting for:\n").is_ok());
    }
}
