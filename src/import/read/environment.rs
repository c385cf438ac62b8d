//! Environment variables, as lines and one by one.

use super::ReadError;
use crate::import::{
    found::{Found, NotCarried, Value},
    setting::{ENCRYPTION, NEWER, SETTINGS, by_variable},
};

/// How alike two names must be for one to be a slip of the other.
const ALIKE: f64 = 0.9;

/// What every process has.
const ORDINARY: [&str; 14] = [
    "HOME", "HOSTNAME", "LANG", "LOGNAME", "OLDPWD", "PATH", "PWD", "SHELL", "SHLVL", "TERM", "TMPDIR", "TZ", "USER",
    "_",
];

/// Reads lines of `NAME=value`, as for a container or a unit of systemd.
pub fn lines(text: &str, found: &mut Found) -> Result<(), ReadError> {
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let assignment = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = assignment.split_once('=').ok_or(ReadError::Line(index + 1))?;
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(ReadError::Line(index + 1));
        }
        variable(name, &Value::Text(unquoted(value.trim())), found);
    }
    Ok(())
}

/// A value as a shell would read it.
fn unquoted(value: &str) -> String {
    let within = |quote: char| value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    match (within('\''), within('"')) {
        (Some(raw), _) => raw.to_owned(),
        (None, Some(text)) => text.replace("\\\"", "\"").replace("\\\\", "\\"),
        (None, None) => value.to_owned(),
    }
}

/// Takes one variable: a setting of the engine, or a reason why it is none.
pub fn variable(name: &str, value: &Value, found: &mut Found) {
    let settings = by_variable(name);
    if settings.is_empty() {
        if is_way_out(name) {
            way_out(name, value, found);
        } else if let Some(why) = foreign(name) {
            // It may hold anything, so it is not shown.
            found.lost.push(NotCarried::hidden(name, why));
        }
        return;
    }
    if name == "PORT" && found.get("Port").is_some() {
        return;
    }
    for setting in settings {
        found.set(setting, name, value.clone());
    }
}

fn is_way_out(name: &str) -> bool {
    matches!(name.to_ascii_lowercase().as_str(), "http_proxy" | "https_proxy" | "no_proxy")
}

/// Takes a proxy on the way out, or what is reached past it. Of two spellings the go command prefers the upper one.
fn way_out(name: &str, value: &Value, found: &mut Found) {
    let lower = name.to_ascii_lowercase();
    match value {
        Value::Text(text) if text.is_empty() => {}
        Value::Text(text) if *name != lower || !found.around.egress.contains_key(&lower) => {
            found.around.egress.insert(lower, text.clone());
        }
        Value::Text(_) | Value::List(_) => {}
        Value::Secret { .. } => {
            let why = "its value is in a Secret and not known here; a proxy on the way out that wants a login cannot be used, \
                       another one stands in spec.upstream.egressProxy";
            found.lost.push(NotCarried::hidden(name, why));
        }
    }
}

/// Why a variable that is no setting of the engine cannot be carried; `None` where there is nothing to carry.
fn foreign(name: &str) -> Option<String> {
    let upper = name.to_ascii_uppercase();
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| upper.starts_with(prefix));
    if ORDINARY.contains(&name) || starts(&["KUBERNETES_", "LC_"]) {
        return None;
    }
    Some(if ENCRYPTION.contains(&name) {
        "releases after v0.18 know it, and fleets run v0.18: let the bucket's own default encryption do it".to_owned()
    } else if NEWER.contains(&name) {
        "releases after v0.18 know it, and fleets run v0.18".to_owned()
    } else if starts(&["ATHENS_"]) {
        let slip = SETTINGS.iter().map(|one| one.variable).find(|known| strsim::jaro_winkler(known, name) > ALIKE);
        let slip = slip.map(|known| format!(" (did it mean {known}?)")).unwrap_or_default();
        format!("Athens v0.18 knows no such setting and took no notice of it{slip}")
    } else if upper == "ALL_PROXY" {
        "the go command takes no notice of it: name the proxy in spec.upstream.egressProxy".to_owned()
    } else if starts(&["SSL_CERT_", "GIT_SSL_CA"]) {
        "certificates come from a ConfigMap: name it in spec.upstream.caBundle".to_owned()
    } else if starts(&["GIT_", "SSH_"]) {
        "git and ssh are told what follows from spec.private.credentials, and nothing else".to_owned()
    } else if starts(&["AWS_", "GOOGLE_", "AZURE_"]) {
        "a cloud gives pods their role by their ServiceAccount (spec.engine.serviceAccount), or the storage names a Secret"
            .to_owned()
    } else if starts(&["GO"]) {
        "Athens does not hand it to the go command, so it had no effect; what it hands on stands in \
         ATHENS_GO_BINARY_ENV_VARS"
            .to_owned()
    } else {
        "it is no setting of Athens, and pods get no other variables".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Found {
        let mut found = Found::default();
        lines(text, &mut found).unwrap();
        found
    }

    #[test]
    fn lines_are_read_as_a_shell_would() {
        let found = read(
            "# comment\n\nexport ATHENS_LOG_LEVEL=\"debug\"\nATHENS_S3_BUCKET_NAME='mod ules'\n GO_ENV = production \n\
             ATHENS_REDIS_ENDPOINT=\"a\\\"b\"\nATHENS_DOWNLOAD_MODE=\n",
        );
        assert_eq!(found.text("LogLevel"), Some("debug"));
        assert_eq!(found.text("Storage.S3.Bucket"), Some("mod ules"));
        assert_eq!(found.text("SingleFlight.Redis.Endpoint"), Some("a\"b"));
        assert_eq!(found.text("GoEnv"), Some("production"));
        assert_eq!(found.text("DownloadMode"), None, "an empty one says nothing");
    }

    #[test]
    fn one_variable_may_be_two_settings_and_have_two_names() {
        let found = read("ATHENS_REDIS_PASSWORD=x\nATHENS_GO_ENV=production\nATHENS_PORT=1\nPORT=2\n");
        assert!(found.get("SingleFlight.Redis.Password").is_some());
        assert!(found.get("SingleFlight.RedisSentinel.RedisPassword").is_some());
        assert_eq!(found.text("GoEnv"), Some("production"));
        assert_eq!(found.text("Port"), Some("1"), "the longer name wins");
        assert_eq!(read("PORT=2\n").text("Port"), Some("2"));
    }

    #[test]
    fn what_is_no_setting_is_told_without_its_value() {
        let found = read(
            "ATHENS_STORAGE_TYP=disk\nATHENS_CACHE_CONTROL=x\nALL_PROXY=http://u:p@e\nGOPROXY=x\nPATH=/bin\n\
             GIT_SSH_COMMAND=ssh\nTOKEN=hunter2\nKUBERNETES_PORT=1\nSSL_CERT_FILE=/x\nAWS_ROLE_ARN=r\n",
        );
        let told: Vec<_> = found.lost.iter().map(|one| one.setting.as_str()).collect();
        let expected = [
            "ATHENS_STORAGE_TYP",
            "ATHENS_CACHE_CONTROL",
            "ALL_PROXY",
            "GOPROXY",
            "GIT_SSH_COMMAND",
            "TOKEN",
            "SSL_CERT_FILE",
            "AWS_ROLE_ARN",
        ];
        assert_eq!(told, expected);
        assert!(found.lost[0].why.contains("did it mean ATHENS_STORAGE_TYPE?"), "{}", found.lost[0].why);
        assert!(found.lost.iter().all(|one| one.value.is_none()));
    }

    #[test]
    fn a_line_that_is_no_variable_is_named_by_its_number() {
        let mut found = Found::default();
        assert_eq!(lines("A=1\nhunter2\n", &mut found), Err(ReadError::Line(2)));
        assert_eq!(lines("a b=1\n", &mut found), Err(ReadError::Line(1)));
    }
}
