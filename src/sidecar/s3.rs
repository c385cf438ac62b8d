//! The two requests of S3 that a marker needs, signed: read an object, and write it if it is still as it was read.
//!
//! A library for object stores would bring sixteen more crates, one of them refused here, for two requests of one kind of store.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use ring::hmac;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::{
    config::{Addressing, S3Bucket},
    trust::{self, TrustError, Way},
    words,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A marker is small; what is larger is none.
const OBJECT_MAX: usize = 64 << 10;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum S3Error {
    /// A key's file cannot be read.
    #[error("cannot read {file}: {source}")]
    Unread {
        /// Its name.
        file: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Nobody can be asked.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The store has no address that a bucket's name fits in.
    #[error("no address of a bucket: check endpoint, bucket and addressing")]
    NoAddress,
    /// The store was not reached.
    #[error("cannot ask the store: {0}")]
    Unreached(String),
    /// It said no.
    #[error("the store answered {status}{told}")]
    Refused {
        /// Status.
        status: u16,
        /// Its code for the reason, after a colon, if it said one.
        told: String,
    },
}

/// An object, and what tells it from what it becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its content.
    pub body: Vec<u8>,
    /// The store's mark for this content.
    pub tag: String,
}

/// What has to be so for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition<'a> {
    /// No object has this name.
    Absent,
    /// The object has this mark.
    Tagged(&'a str),
}

/// Keys as they lie in the files of a Secret.
struct Keys {
    id: String,
    secret: String,
    session: Option<String>,
}

impl Keys {
    fn read(directory: &Path) -> Result<Self, S3Error> {
        let text = |file: &'static str| match fs::read_to_string(directory.join(file)) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(S3Error::Unread { file, source }),
        };
        let session = match text("AWS_SESSION_TOKEN") {
            Ok(session) => Some(session),
            Err(S3Error::Unread { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        Ok(Self { id: text("AWS_ACCESS_KEY_ID")?, secret: text("AWS_SECRET_ACCESS_KEY")?, session })
    }
}

/// Reads an object. `None` where there is none.
pub async fn read(bucket: &S3Bucket, object: &str) -> Result<Option<Found>, S3Error> {
    let response = send(bucket, object, "GET", None).await?;
    if response.status().as_u16() == 404 {
        let body = trust::body(response, OBJECT_MAX).await.map_err(unreached)?;
        let code = code_of(&body);
        // A bucket that is missing is another thing than a marker that is.
        return if code == "NoSuchBucket" {
            Err(S3Error::Refused { status: 404, told: format!(": {code}") })
        } else {
            Ok(None)
        };
    }
    let response = fine(response).await?;
    let tag = response.headers().get("etag").and_then(|tag| tag.to_str().ok()).unwrap_or_default().to_owned();
    let body = trust::body(response, OBJECT_MAX).await.map_err(unreached)?;
    Ok(Some(Found { body, tag }))
}

/// Writes an object. False where the condition does not hold any more.
pub async fn write(bucket: &S3Bucket, object: &str, body: Vec<u8>, condition: Condition<'_>) -> Result<bool, S3Error> {
    let response = send(bucket, object, "PUT", Some((body, condition))).await?;
    if matches!(response.status().as_u16(), 409 | 412) {
        return Ok(false);
    }
    fine(response).await.map(|_| true)
}

async fn send(
    bucket: &S3Bucket,
    object: &str,
    method: &'static str,
    write: Option<(Vec<u8>, Condition<'_>)>,
) -> Result<reqwest::Response, S3Error> {
    let keys = Keys::read(&bucket.directory)?;
    let url = address(bucket, object).ok_or(S3Error::NoAddress)?;
    let way = Way {
        ca_file: bucket.ca_file.as_deref(),
        proxy_from_environment: bucket.proxy_from_environment,
        timeout: PATIENCE,
    };
    let client = trust::client(url.scheme(), way)?;
    let (body, condition) = write.map_or((Vec::new(), None), |(body, condition)| (body, Some(condition)));
    let signature = Signature {
        method,
        url: &url,
        region: &bucket.region,
        digest: hex(&Sha256::digest(&body)),
        now: Timestamp::now(),
    };
    let mut request = client.request(method.parse().expect("a constant"), url.clone());
    for (name, value) in signature.headers(&keys) {
        request = request.header(name, value);
    }
    request = match condition {
        Some(Condition::Absent) => request.header("if-none-match", "*"),
        Some(Condition::Tagged(tag)) => request.header("if-match", tag),
        None => request,
    };
    if condition.is_some() {
        request = request.header("content-type", "application/json").body(body);
    }
    request.send().await.map_err(unreached)
}

fn unreached(error: reqwest::Error) -> S3Error {
    S3Error::Unreached(words::of_request(error))
}

async fn fine(response: reqwest::Response) -> Result<reqwest::Response, S3Error> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let body = trust::body(response, OBJECT_MAX).await.map_err(unreached)?;
    let code = code_of(&body);
    let told = if code.is_empty() { String::new() } else { format!(": {code}") };
    Err(S3Error::Refused { status: status.as_u16(), told })
}

/// The code of a refusal, such as AccessDenied. The rest of it names keys and requests.
fn code_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let code = text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")).map_or("", |(code, _)| code);
    code.chars().filter(char::is_ascii_alphanumeric).take(64).collect()
}

/// Where an object is.
pub fn address(bucket: &S3Bucket, object: &str) -> Option<Url> {
    let mut url = match &bucket.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => format!("https://s3.{}.amazonaws.com/", bucket.region).parse().ok()?,
    };
    let prefix = url.path().trim_end_matches('/').to_owned();
    match bucket.addressing {
        Addressing::Path => url.set_path(&format!("{prefix}/{}/{object}", bucket.bucket)),
        Addressing::VirtualHosted => {
            let host = format!("{}.{}", bucket.bucket, url.host_str()?);
            url.set_host(Some(&host)).ok()?;
            url.set_path(&format!("{prefix}/{object}"));
        }
    }
    Some(url)
}

/// What is signed of a request, by version 4 of AWS' signatures.
struct Signature<'a> {
    method: &'static str,
    url: &'a Url,
    region: &'a str,
    digest: String,
    now: Timestamp,
}

impl Signature<'_> {
    fn headers(&self, keys: &Keys) -> Vec<(&'static str, String)> {
        let time = self.now.to_zoned(TimeZone::UTC);
        let (date, time) = (time.strftime("%Y%m%d").to_string(), time.strftime("%Y%m%dT%H%M%SZ").to_string());
        let host = self.url.host_str().unwrap_or_default();
        let host = self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let mut signed =
            vec![("host", host), ("x-amz-content-sha256", self.digest.clone()), ("x-amz-date", time.clone())];
        signed.extend(keys.session.clone().map(|session| ("x-amz-security-token", session)));
        let lines = signed.iter().fold(String::new(), |mut lines, (name, value)| {
            let _ = writeln!(lines, "{name}:{value}");
            lines
        });
        let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        // A name has only what a path need not escape.
        let canonical = format!("{}\n{}\n\n{lines}\n{names}\n{}", self.method, self.url.path(), self.digest);
        let scope = format!("{date}/{}/s3/aws4_request", self.region);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let first = format!("AWS4{}", keys.secret).into_bytes();
        let key = [date.as_str(), self.region, "s3", "aws4_request"].iter().fold(first, |key, part| mac(&key, part));
        let proof = hex(&mac(&key, &text));
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={proof}", keys.id);
        let others = signed.into_iter().filter(|(name, _)| *name != "host");
        others.chain([("authorization", authorization)]).collect()
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(endpoint: Option<&str>, addressing: Addressing) -> S3Bucket {
        S3Bucket {
            endpoint: endpoint.map(|endpoint| endpoint.parse().unwrap()),
            region: "us-east-1".to_owned(),
            bucket: "modules".to_owned(),
            addressing,
            directory: "/etc/goproxy/bucket".into(),
            ca_file: None,
            proxy_from_environment: false,
        }
    }

    #[test]
    fn an_object_is_where_the_store_looks_for_it() {
        let at = |endpoint, addressing| address(&bucket(endpoint, addressing), "a/b.json").unwrap().to_string();
        assert_eq!(at(None, Addressing::VirtualHosted), "https://modules.s3.us-east-1.amazonaws.com/a/b.json");
        assert_eq!(at(Some("http://store:7070"), Addressing::Path), "http://store:7070/modules/a/b.json");
        assert_eq!(
            at(Some("https://store.example.com/s3/"), Addressing::Path),
            "https://store.example.com/s3/modules/a/b.json"
        );
    }

    /// The key and the object of AWS' documentation; computed once by another program from the same headers.
    #[test]
    fn a_signature_is_the_one_that_others_make() {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session: None,
        };
        let url = "https://examplebucket.s3.amazonaws.com/test.txt".parse().unwrap();
        let now = "2013-05-24T00:00:00Z".parse().unwrap();
        let signature =
            Signature { method: "GET", url: &url, region: "us-east-1", digest: hex(&Sha256::digest("")), now };
        let headers = signature.headers(&keys);
        let value = |name: &str| headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.as_str());
        assert_eq!(value("x-amz-date"), Some("20130524T000000Z"));
        let expected = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                        SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
                        Signature=df548e2ce037944d03f3e68682813b093763996d597cf890ca3d9037fd231eb4";
        assert_eq!(value("authorization"), Some(expected));
        assert_eq!(value("host"), None, "the client sets it");
        let session = Keys { session: Some("s".to_owned()), ..keys };
        assert!(signature.headers(&session).iter().any(|(name, _)| *name == "x-amz-security-token"));
    }

    #[test]
    fn a_refusal_is_told_by_its_code_alone() {
        let body =
            b"<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><AWSAccessKeyId>hidden</AWSAccessKeyId></Error>";
        assert_eq!(code_of(body), "AccessDenied");
        assert_eq!(code_of(b"<html>"), "");
    }
}
