//! Files for git and ssh, of fleets that log in somewhere. They hold hosts and user names; logins stay in mounted Secrets.
//!
//! git asks a helper for each login, and ssh reads its key for each connection, so a Secret that changes needs no restart.
//! Whatever a server announces, an address of a host is rewritten to the way in that there is a login for.

use crate::{
    engine::{
        athens::{CONFIG_DIRECTORY, HOME_DIRECTORY},
        contract::{LOGIN_DIRECTORY, sidecar::TOKEN_DIRECTORY},
    },
    plan::validate::{Login, ValidCredential, ValidFleet},
};

/// Names of the files in the revision's ConfigMap.
const GIT_CONFIG: &str = "gitconfig";
const SSH_CONFIG: &str = "ssh_config";
const HELPER: &str = "git-credential";
/// What answers git.
const HELPER_TEXT: &str = include_str!("git-credential.sh");

/// Keys of the Secrets, by the way in. Each becomes a file of the same name in the host's directory.
pub const fn keys(login: &Login) -> &'static [&'static str] {
    match login {
        Login::Basic => &["username", "password"],
        Login::Token { .. } => &["token"],
        Login::Netrc => &[".netrc"],
        Login::Ssh { .. } => &[PRIVATE_KEY, KNOWN_HOSTS],
        // Whoever has an App's key can have any of its tokens: it stays with the sidecar, which git gets a token from.
        Login::GitHubApp => &[],
    }
}

/// The user that goes with a token of an App.
const APP_USER: &str = "x-access-token";
const PRIVATE_KEY: &str = "ssh-privatekey";
const KNOWN_HOSTS: &str = "known_hosts";

/// The files, by name; none without credentials.
pub fn files(fleet: &ValidFleet) -> Vec<(&'static str, String)> {
    if fleet.credentials.is_empty() {
        return Vec::new();
    }
    let mut files = vec![(GIT_CONFIG, git_config(&fleet.credentials)), (HELPER, HELPER_TEXT.to_owned())];
    if fleet.credentials.iter().any(uses_ssh) {
        files.push((SSH_CONFIG, ssh_config(&fleet.credentials)));
    }
    files
}

/// What leads go and git to these files and nothing else.
pub fn environment(fleet: &ValidFleet) -> Vec<(&'static str, String)> {
    if fleet.credentials.is_empty() {
        return Vec::new();
    }
    let mut environment = vec![
        ("GIT_CONFIG_GLOBAL", format!("{CONFIG_DIRECTORY}/{GIT_CONFIG}")),
        ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
        ("GIT_TERMINAL_PROMPT", "0".to_owned()),
    ];
    if fleet.credentials.iter().any(uses_ssh) {
        environment.push(("GIT_SSH_COMMAND", format!("ssh -F {CONFIG_DIRECTORY}/{SSH_CONFIG}")));
    }
    if !fleet.credentials.iter().all(uses_ssh) {
        // The go command asks a server itself where a repository is. It gets its login from git, and so from the same files.
        environment.push(("GOAUTH", format!("git {HOME_DIRECTORY}")));
    }
    environment
}

const fn uses_ssh(credential: &ValidCredential) -> bool {
    matches!(credential.login, Login::Ssh { .. })
}

/// A section of git's configuration.
struct Section {
    name: &'static str,
    of: Option<String>,
    settings: Vec<(&'static str, String)>,
}

fn git_config(credentials: &[ValidCredential]) -> String {
    let section = |name, of: Option<&str>, settings| Section { name, of: of.map(str::to_owned), settings };
    let allowed = |word: &str| vec![("allow", word.to_owned())];
    let mut sections = vec![
        // A server can name any repository address; those of other kinds run programs or read the pod's own files.
        section("protocol", None, allowed("never")),
        section("protocol", Some("https"), allowed("always")),
        section("protocol", Some("ssh"), allowed("always")),
    ];
    for credential in credentials {
        let base = base(credential);
        sections.extend(helper(credential).map(|settings| section("credential", Some(&base), settings)));
        let others = other_addresses(credential);
        let rewritten = others.into_iter().map(|other| ("insteadOf", other)).collect();
        sections.push(section("url", Some(&format!("{base}/")), rewritten));
    }
    sections.iter().map(Section::text).collect()
}

/// The address that all repositories of a host begin with, without the slash.
fn base(credential: &ValidCredential) -> String {
    let ValidCredential { host, port, login, .. } = credential;
    let port = port.map_or_else(String::new, |port| format!(":{port}"));
    match login {
        Login::Ssh { user } => format!("ssh://{user}@{host}{port}"),
        Login::Basic | Login::Token { .. } | Login::Netrc | Login::GitHubApp => format!("https://{host}{port}"),
    }
}

/// Where git gets a login over https.
fn helper(credential: &ValidCredential) -> Option<Vec<(&'static str, String)>> {
    let (way, directory) = match &credential.login {
        Login::Basic => ("basic", LOGIN_DIRECTORY),
        Login::Token { .. } => ("token", LOGIN_DIRECTORY),
        Login::Netrc => ("netrc", LOGIN_DIRECTORY),
        Login::GitHubApp => ("app", TOKEN_DIRECTORY),
        Login::Ssh { .. } => return None,
    };
    // A shell reads this: nothing that a user said is in it. Which host it is about, git tells the helper.
    let mut settings = vec![("helper", format!("!sh {CONFIG_DIRECTORY}/{HELPER} {way} {directory}"))];
    match &credential.login {
        Login::Token { username } => settings.push(("username", username.clone())),
        Login::GitHubApp => settings.push(("username", APP_USER.to_owned())),
        Login::Basic | Login::Netrc | Login::Ssh { .. } => {}
    }
    Some(settings)
}

/// Other addresses of the same host that a server may announce.
fn other_addresses(credential: &ValidCredential) -> Vec<String> {
    let ValidCredential { host, port, login, .. } = credential;
    match login {
        Login::Ssh { user } => {
            let mut others = ["https://", "ssh://", "git+ssh://"].map(|scheme| format!("{scheme}{host}/")).to_vec();
            others.push(format!("git+ssh://{user}@{host}/"));
            if port.is_some() {
                others.push(format!("ssh://{user}@{host}/"));
            }
            others
        }
        Login::Basic | Login::Token { .. } | Login::Netrc | Login::GitHubApp => {
            let schemes = ["ssh://git@", "ssh://", "git+ssh://git@", "git+ssh://"];
            let mut others = schemes.map(|scheme| format!("{scheme}{host}/")).to_vec();
            if port.is_some() {
                others.push(format!("https://{host}/"));
            }
            others
        }
    }
}

impl Section {
    fn text(&self) -> String {
        let of = self.of.as_ref().map_or_else(String::new, |of| format!(" {}", quoted(of)));
        let settings = self.settings.iter().map(|(name, value)| format!("\t{name} = {}\n", quoted(value)));
        format!("[{}{of}]\n{}", self.name, settings.collect::<String>())
    }
}

/// ssh's configuration: a key and known servers for each host, and nothing for others.
fn ssh_config(credentials: &[ValidCredential]) -> String {
    let of_host = |ValidCredential { host, .. }: &ValidCredential| {
        [
            ("Host", host.clone()),
            ("IdentityFile", format!("{LOGIN_DIRECTORY}/{host}/{PRIVATE_KEY}")),
            ("UserKnownHostsFile", format!("{LOGIN_DIRECTORY}/{host}/{KNOWN_HOSTS}")),
        ]
    };
    let of_all = [
        ("Host", "*"),
        ("BatchMode", "yes"),
        ("ConnectTimeout", "30"),
        ("GlobalKnownHostsFile", "/dev/null"),
        ("IdentitiesOnly", "yes"),
        ("IdentityAgent", "none"),
        ("StrictHostKeyChecking", "yes"),
        ("UpdateHostKeys", "no"),
        // The first value of a setting counts: for hosts without a login there are no known servers, so none is trusted.
        ("IdentityFile", "none"),
        ("UserKnownHostsFile", "/dev/null"),
    ];
    let of_all = of_all.map(|(name, value)| (name, value.to_owned()));
    let lines = credentials.iter().filter(|one| uses_ssh(one)).flat_map(of_host).chain(of_all);
    lines.fold(String::new(), |text, (name, value)| text + name + " " + &quoted(&value) + "\n")
}

/// A value as git and ssh read it. Neither can hold a control character, whatever the caller checked before.
fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for c in value.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write as _,
        path::Path,
        process::{Command, Stdio},
    };

    use proptest::prelude::*;

    use super::*;
    use crate::plan::fixture::{credential, credentials, smallest};

    fn fleet() -> ValidFleet {
        ValidFleet { credentials: credentials(), ..smallest() }
    }

    #[test]
    fn a_fleet_without_logins_has_no_files_and_no_variables() {
        assert!(files(&smallest()).is_empty() && environment(&smallest()).is_empty());
    }

    #[test]
    fn files_of_every_way_in() {
        let told: Vec<_> = files(&fleet()).into_iter().filter(|(name, _)| *name != HELPER).collect();
        let text: Vec<_> = told.iter().map(|(name, text)| format!("{name}:\n{text}")).collect();
        insta::assert_snapshot!(text.join("\n"));
    }

    #[test]
    fn each_way_in_brings_only_the_variables_that_it_needs() {
        let names = |login: Login| {
            let fleet = ValidFleet { credentials: vec![credential("git.example.com", login)], ..smallest() };
            environment(&fleet).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        let common = ["GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_TERMINAL_PROMPT"];
        assert_eq!(names(Login::Netrc), [&common[..], &["GOAUTH"]].concat());
        assert_eq!(names(Login::Ssh { user: "git".to_owned() }), [&common[..], &["GIT_SSH_COMMAND"]].concat());
    }

    #[test]
    fn no_shell_reads_what_a_user_said() {
        let mut fleet = fleet();
        for credential in &mut fleet.credentials {
            credential.host = "$(reboot)".to_owned();
            if let Login::Token { username } = &mut credential.login {
                "`reboot`".clone_into(username);
            }
        }
        let config = git_config(&fleet.credentials);
        let shells: Vec<_> = config.lines().filter(|line| line.contains("= \"!")).collect();
        assert_eq!(shells.len(), 3);
        assert!(shells.iter().all(|line| !line.contains("reboot")), "{shells:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is quoted is one value: it ends at its own end, on its own line.
        #[test]
        fn a_quoted_value_ends_where_it_ends(value in any::<String>()) {
            let text = quoted(&value);
            prop_assert!(!text.contains(char::is_control));
            let mut inside = text[1..text.len() - 1].chars();
            let mut read = String::new();
            while let Some(c) = inside.next() {
                prop_assert!(c != '"', "{text} ends early");
                read.push(if c == '\\' { inside.next().unwrap() } else { c });
            }
            let kept: String = value.chars().filter(|c| !c.is_control()).collect();
            prop_assert_eq!(read, kept);
        }
    }

    /// The files as they are mounted in a pod, below a directory of the test's own.
    struct Mounted(tempfile::TempDir);

    impl Mounted {
        fn new(logins: &[(&str, &str)]) -> Self {
            Self::of(&fleet(), logins)
        }

        fn of(fleet: &ValidFleet, logins: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let mounted = Self(directory);
            for (name, text) in files(fleet) {
                mounted.write(&format!("config/{name}"), &mounted.moved(&text));
            }
            for (file, text) in logins {
                mounted.write(&format!("logins/{file}"), text);
            }
            mounted
        }

        fn moved(&self, text: &str) -> String {
            let path = |name: &str| self.path(name).display().to_string();
            let text = text.replace(CONFIG_DIRECTORY, &path("config")).replace(LOGIN_DIRECTORY, &path("logins"));
            text.replace(TOKEN_DIRECTORY, &path("tokens"))
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        /// Runs a program as the engine would, with these words as its input; what it said on both ways out.
        fn run(&self, program: &str, args: &[&str], input: &str) -> (String, String) {
            let mut command = Command::new(program);
            command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap()).env("LC_ALL", "C");
            for (name, value) in environment(&fleet()) {
                command.env(name, self.moved(&value));
            }
            command.current_dir(self.0.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap_or_else(|error| panic!("{program} is needed: {error}"));
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (text(output.stdout), text(output.stderr))
        }

        /// What git would log in with.
        fn login(&self, url: &str) -> (String, String) {
            let (out, said) = self.run("git", &["credential", "fill"], &format!("url={url}\n\n"));
            let lines = out.lines().filter(|line| line.starts_with("username=") || line.starts_with("password="));
            (lines.collect::<Vec<_>>().join(" "), said)
        }
    }

    #[test]
    fn git_itself_finds_every_login() {
        let netrc = "# of ours\nmachine other.example.com login x password y\nmachine netrc.example.com\n\tlogin one password two\n";
        let mounted = Mounted::new(&[
            ("basic.example.com/username", "deploy"),
            ("basic.example.com/password", "a = b\\'\"$(c)\r\n"),
            ("token.example.com/token", "t0ken\n"),
            ("netrc.example.com/.netrc", netrc),
        ]);
        for (url, login) in [
            ("https://basic.example.com/acme/lib.git", "username=deploy password=a = b\\'\"$(c)"),
            ("https://token.example.com:8443/acme/lib", "username=x-access-token password=t0ken"),
            ("https://netrc.example.com/acme/lib", "username=one password=two"),
            // Neither another port nor another host gets it.
            ("https://token.example.com/acme/lib", ""),
            ("https://example.com/acme/lib", ""),
            ("https://basic.example.com.evil.example/acme/lib", ""),
        ] {
            assert_eq!(mounted.login(url).0, login, "{url}");
        }
        mounted.write("logins/token.example.com/token", "rotated");
        let (login, _) = mounted.login("https://token.example.com:8443/");
        assert_eq!(login, "username=x-access-token password=rotated", "read at every call");
    }

    #[test]
    fn a_login_that_is_not_there_is_told_by_host_and_key() {
        let mounted = Mounted::new(&[
            ("basic.example.com/username", "deploy"),
            ("token.example.com/token", "\n"),
            ("netrc.example.com/.netrc", "machine netrc.example.com login only"),
        ]);
        for (url, cause) in [
            (
                "https://basic.example.com/",
                "no login for basic.example.com: its Secret is missing, or has no key password",
            ),
            ("https://token.example.com:8443/", "no login for token.example.com: the key token of its Secret is empty"),
            ("https://netrc.example.com/", "has no machine netrc.example.com with login and password"),
        ] {
            let (login, said) = mounted.login(url);
            assert_eq!(login, "", "{url}");
            assert!(said.contains(cause), "{said}");
        }
    }

    #[test]
    fn a_token_of_an_app_is_read_where_the_sidecar_puts_it() {
        let app = vec![credential("github.com", Login::GitHubApp)];
        let mounted = Mounted::of(&ValidFleet { credentials: app, ..smallest() }, &[]);
        let (login, said) = mounted.login("https://github.com/acme/lib");
        assert_eq!(login, "");
        let cause = "no login for github.com: there is no token of its GitHub App yet";
        assert!(said.contains(cause), "{said}");
        for token in ["ghs_one", "ghs_two"] {
            mounted.write("tokens/github.com", token);
            let (login, said) = mounted.login("https://github.com/acme/lib");
            assert_eq!(login, format!("username=x-access-token password={token}"), "{said}");
        }
        assert_eq!(mounted.login("https://github.com.evil.example/acme/lib").0, "");
    }

    #[test]
    fn a_netrc_file_is_read_as_others_read_it() {
        for (netrc, expected) in [
            ("machine netrc.example.com login a password b", "username=a password=b"),
            (
                "machine netrc.example.com login a account c password b machine x login y password z",
                "username=a password=b",
            ),
            ("machine x login y password z machine netrc.example.com password b login a", "username=a password=b"),
            (
                "machine netrc.example.com login a password b\nmachine netrc.example.com login c password d\n",
                "username=a password=b",
            ),
            ("machine netrc.example.com\r\nlogin a\r\npassword b\r\n", "username=a password=b"),
            ("machine netrc.example.com login * password $HOME", "username=* password=$HOME"),
            ("default login a password b", ""),
            ("", ""),
        ] {
            let mounted = Mounted::new(&[("netrc.example.com/.netrc", netrc)]);
            assert_eq!(mounted.login("https://netrc.example.com/").0, expected, "{netrc:?}");
        }
    }

    #[test]
    fn every_address_of_a_host_leads_the_way_that_there_is_a_login_for() {
        let mounted = Mounted::new(&[]);
        for (announced, used) in [
            ("https://ssh.example.com/acme/lib", "ssh://forge@ssh.example.com:2222/acme/lib"),
            ("ssh://forge@ssh.example.com/acme/lib", "ssh://forge@ssh.example.com:2222/acme/lib"),
            ("ssh://ssh.example.com/acme/lib", "ssh://forge@ssh.example.com:2222/acme/lib"),
            ("ssh://git@basic.example.com/acme/lib", "https://basic.example.com/acme/lib"),
            ("git+ssh://git@netrc.example.com/acme/lib", "https://netrc.example.com/acme/lib"),
            ("ssh://git@token.example.com/acme/lib", "https://token.example.com:8443/acme/lib"),
            ("https://token.example.com/acme/lib", "https://token.example.com:8443/acme/lib"),
            ("https://elsewhere.example.com/acme/lib", "https://elsewhere.example.com/acme/lib"),
        ] {
            let (out, said) = mounted.run("git", &["ls-remote", "--get-url", announced], "");
            assert_eq!(out.trim(), used, "{said}");
        }
        for other in
            ["file:///etc", "ext::sh -c true", "git://basic.example.com/acme/lib", "http://basic.example.com/acme"]
        {
            let (_, said) = mounted.run("git", &["ls-remote", other], "");
            assert!(said.contains("not allowed"), "{other}: {said}");
        }
    }

    #[test]
    fn ssh_trusts_known_servers_alone_and_offers_each_its_own_key() {
        let mounted = Mounted::new(&[]);
        let config = mounted.path("config/ssh_config").display().to_string();
        let settings = |host: &str| mounted.run("ssh", &["-G", "-F", &config, host], "").0;
        let own = settings("ssh.example.com");
        let logins = mounted.path("logins/ssh.example.com");
        let file = |name: &str| Path::new(&logins).join(name).display().to_string();
        for line in [
            "stricthostkeychecking true".to_owned(),
            "batchmode yes".to_owned(),
            "identitiesonly yes".to_owned(),
            "globalknownhostsfile /dev/null".to_owned(),
            format!("userknownhostsfile {}", file("known_hosts")),
            format!("identityfile {}", file("ssh-privatekey")),
        ] {
            assert!(own.lines().any(|one| one == line), "{line} is not in {own}");
        }
        let stranger = settings("elsewhere.example.com");
        assert!(stranger.contains("userknownhostsfile /dev/null\n"), "{stranger}");
        assert!(!stranger.contains("ssh-privatekey"), "{stranger}");
    }
}
