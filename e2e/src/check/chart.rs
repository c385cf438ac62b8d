//! The operator's chart: lint, renders compared with the committed ones, definitions, rights, refusals, documentation.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use goproxy_operator::check::{fleet_permissions, secret_permissions};
use serde_json::Value;

use super::{Check, Golden, agreement, difference, finish, succeed, values};

/// The oldest supported Kubernetes: what renders for it must render for all.
const KUBE_VERSION: &str = "1.33.0";

const MONITOR_KINDS: &str = "monitoring.coreos.com/v1/PodMonitor,monitoring.coreos.com/v1/PrometheusRule,monitoring.coreos.com/v1/ServiceMonitor";

/// The installations whose renders are committed: `e2e/golden/chart/NAME.values.yaml` gives `NAME.yaml`.
const CASES: [&str; 7] = [
    "defaults",
    "namespaced",
    "fleet-namespaces",
    "ha-pod-monitor",
    "ha-service-monitor",
    "everything-off",
    "everything-set",
];

/// Bad values, and what the refusal must contain for a person to find the mistake.
const REFUSED: [(&str, &str); 26] = [
    ("image.tag=latest", "latest would change what runs"),
    ("image.tag=a b", "/image/tag"),
    ("image.digest=sha256:12", "/image/digest"),
    ("image.repository=registry/name:tag", "/image/repository"),
    ("image.repository=", "/image/repository"),
    ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ("images.tag=v1", "additional properties 'images'"),
    ("log.levle=debug", "additional properties 'levle'"),
    ("log.level=verbose", "'error', 'warn', 'info', 'debug'"),
    ("log.format=xml", "'json', 'text'"),
    ("replicas=-1", "/replicas"),
    ("replicas=two", "/replicas"),
    ("concurrency=0", "/concurrency"),
    ("namespaces={Not_A_Name}", "/namespaces/0"),
    ("namespaces={a,a}", "/namespaces"),
    ("namespaces={a},fleetNamespaces={b}", "\"b\" is not in namespaces (a)"),
    ("serviceAccount.create=false", "/serviceAccount/name"),
    ("networkPolicy.apiServer.cidrs={10.0.0.1}", "/networkPolicy/apiServer/cidrs/0"),
    ("networkPolicy.apiServer.ports={0}", "/networkPolicy/apiServer/ports/0"),
    ("metrics.podMonitor.interval=often", "/metrics/podMonitor/interval"),
    ("metrics.podMonitor.enabled=true,metrics.serviceMonitor.enabled=true", "/metrics/serviceMonitor/enabled"),
    ("redis.image=redis", "/redis/image"),
    ("edge.image=edge", "/edge/image"),
    ("sidecar.image=sidecar", "/sidecar/image"),
    ("metrics.alerts.claims=", "/metrics/alerts/claims"),
    ("resources.limit.memory=1Gi", "additional properties 'limit'"),
];

/// Everything about the chart that can be known without a cluster. `helm` is the program to do it with.
pub fn chart(helm: &Path, repo: &Path, golden: Golden) -> Vec<Check> {
    let chart = Chart { helm, repo, directory: repo.join("charts/goproxy-operator") };
    let mut checks = Vec::new();
    for case in CASES {
        checks.push(Check::from_result(format!("chart: {case}: lint"), chart.lint(case)));
        checks.push(Check::from_result(format!("chart: {case}: render"), chart.compare(case, golden)));
        checks.push(Check::from_result(format!("chart: {case}: rights"), chart.rights(case)));
        checks.push(Check::from_result(format!("chart: {case}: flags"), chart.flags(case)));
    }
    for (set, message) in REFUSED {
        checks.push(Check::from_result(format!("chart: refuses {set}"), chart.refuses(set, message)));
    }
    checks.push(Check::from_result("chart: the program knows every word for logs", chart.words_for_logs()));
    checks.push(Check::from_result("chart: definitions are the generated ones, kept", chart.definitions()));
    checks.push(Check::from_result("chart: the package renders like the directory", chart.package()));
    checks.push(Check::from_result("chart: monitors wait for their resource", chart.monitors()));
    checks.push(Check::from_result("chart: values are documented", values::documented(&chart.directory, golden)));
    checks
}

struct Chart<'a> {
    helm: &'a Path,
    repo: &'a Path,
    directory: PathBuf,
}

impl Chart<'_> {
    fn values(&self, case: &str) -> PathBuf {
        self.repo.join(format!("e2e/golden/chart/{case}.values.yaml"))
    }

    fn template(&self, chart: &Path) -> Command {
        let mut command = Command::new(self.helm);
        command.args(["template", "goproxy-operator"]).arg(chart);
        command.args(["--namespace", "goproxy-system", "--kube-version", KUBE_VERSION]);
        command
    }

    fn render(&self, case: &str) -> anyhow::Result<Vec<Document>> {
        let mut command = self.template(&self.directory);
        command.args(["--api-versions", MONITOR_KINDS, "--values"]).arg(self.values(case));
        Ok(documents(&succeed(&mut command)?))
    }

    fn lint(&self, case: &str) -> anyhow::Result<()> {
        let mut command = Command::new(self.helm);
        command.args(["lint", "--strict", "--kube-version", KUBE_VERSION, "--values"]).arg(self.values(case));
        succeed(command.arg(&self.directory)).map(drop)
    }

    /// Byte for byte, but for the definitions: they have a check of their own, and a change of a field is not a change of the chart.
    fn compare(&self, case: &str, golden: Golden) -> anyhow::Result<()> {
        let rendered: String = self
            .render(case)?
            .iter()
            .filter(|document| !document.is_definition())
            .map(|document| &*document.text)
            .collect();
        super::golden(&self.repo.join(format!("e2e/golden/chart/{case}.yaml")), &rendered, golden)
    }

    /// Nothing that an attacker who holds the operator's token would be glad of.
    fn rights(&self, case: &str) -> anyhow::Result<()> {
        for document in self.render(case)? {
            let object = document.parse()?;
            let kind = object["kind"].as_str().unwrap_or_default();
            if !matches!(kind, "Role" | "ClusterRole") {
                continue;
            }
            let ending = object["metadata"]["name"].as_str().and_then(|name| name.rsplit('-').next());
            match ending {
                Some("fleets") => agreement::rights(&object, &fleet_permissions())?,
                Some("secrets") => agreement::rights(&object, &secret_permissions())?,
                _ => {}
            }
            for rule in object["rules"].as_array().into_iter().flatten() {
                harmless(kind, rule).with_context(|| format!("{kind} {}", object["metadata"]["name"]))?;
            }
        }
        Ok(())
    }

    fn flags(&self, case: &str) -> anyhow::Result<()> {
        started(&self.render(case)?)
    }

    /// Every value that the schema lets through for an enumeration is one that the program starts with.
    fn words_for_logs(&self) -> anyhow::Result<()> {
        let schema: Value = serde_json::from_str(&std::fs::read_to_string(self.directory.join("values.schema.json"))?)?;
        for field in ["format", "level"] {
            let words = schema["properties"]["log"]["properties"][field]["enum"].as_array();
            for word in words.with_context(|| format!("log.{field} is no enumeration"))? {
                let set = format!("log.{field}={}", word.as_str().unwrap_or_default());
                started(&documents(&succeed(self.template(&self.directory).args(["--set", &set]))?)).context(set)?;
            }
        }
        Ok(())
    }

    fn refuses(&self, set: &str, message: &str) -> anyhow::Result<()> {
        let finished = finish(self.template(&self.directory).args(["--set", set]))?;
        ensure!(!finished.success, "it was accepted");
        ensure!(finished.stderr.contains(message), "the message lacks {message:?}: {}", finished.stderr);
        Ok(())
    }

    fn definitions(&self) -> anyhow::Result<()> {
        let files = definition_files(&self.repo.join("crds"))?;
        let kept = self.rendered_definitions("crds.keep=true")?;
        let unkept = self.rendered_definitions("crds.keep=false")?;
        ensure!(kept.len() == files.len(), "{} files, {} rendered definitions", files.len(), kept.len());
        for (file, rendered) in &kept {
            ensure!(files.contains(file), "{} is not what the file in crds/ says", file["metadata"]["name"]);
            ensure!(policy(rendered) == "keep", "{} is not kept on uninstall", file["metadata"]["name"]);
        }
        for (file, rendered) in &unkept {
            ensure!(policy(rendered).is_null(), "{} is kept although crds.keep=false", file["metadata"]["name"]);
        }
        Ok(())
    }

    /// Each definition without what the chart adds, and as it was rendered.
    fn rendered_definitions(&self, set: &str) -> anyhow::Result<Vec<(Value, Value)>> {
        let text = succeed(self.template(&self.directory).args(["--set", set]))?;
        let mut definitions = Vec::new();
        for document in documents(&text).iter().filter(|document| document.is_definition()) {
            let rendered = document.parse()?;
            let mut bare = rendered.clone();
            strip_added(&mut bare);
            plain_numbers(&mut bare);
            definitions.push((bare, rendered));
        }
        Ok(definitions)
    }

    /// A package made from a link that was not followed would install no definitions.
    fn package(&self) -> anyhow::Result<()> {
        let directory = std::env::temp_dir().join(format!("goproxy-chart-{}", std::process::id()));
        let result = self.package_into(&directory);
        std::fs::remove_dir_all(&directory).with_context(|| format!("cannot remove {}", directory.display()))?;
        result
    }

    fn package_into(&self, directory: &Path) -> anyhow::Result<()> {
        std::fs::create_dir(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let mut package = Command::new(self.helm);
        succeed(package.arg("package").arg(&self.directory).arg("--destination").arg(directory))?;
        let archive = std::fs::read_dir(directory)?.next().context("helm wrote no package")??.path();
        let packaged = succeed(&mut self.template(&archive))?;
        let direct = succeed(&mut self.template(&self.directory))?;
        ensure!(packaged == direct, "{}", difference(&direct, &packaged));
        Ok(())
    }

    fn monitors(&self) -> anyhow::Result<()> {
        for (kind, set) in [
            ("PodMonitor", "metrics.podMonitor.enabled=true"),
            ("ServiceMonitor", "metrics.serviceMonitor.enabled=true"),
            ("PrometheusRule", "metrics.alerts.enabled=true"),
        ] {
            let text = succeed(self.template(&self.directory).args(["--set", set]))?;
            ensure!(
                !text.contains(&format!("kind: {kind}")),
                "a {kind} is rendered for a cluster without that resource"
            );
        }
        Ok(())
    }
}

/// Every program of ours in a render starts with its arguments.
fn started(documents: &[Document]) -> anyhow::Result<()> {
    let mut containers = 0;
    for document in documents.iter().filter(|document| !document.is_definition()) {
        let object = document.parse()?;
        if object["kind"] == "Deployment" || object["kind"] == "Pod" {
            containers += agreement::flags(&object)?;
        }
    }
    ensure!(containers > 0, "nothing of ours is started");
    Ok(())
}

fn policy(definition: &Value) -> &Value {
    &definition["metadata"]["annotations"]["helm.sh/resource-policy"]
}

/// Takes away the chart's labels and its one annotation; what is empty then was not there.
fn strip_added(definition: &mut Value) {
    let Some(metadata) = definition["metadata"].as_object_mut() else { return };
    for (field, added) in [("labels", &["helm.sh/", "app.kubernetes.io/"][..]), ("annotations", &["helm.sh/"][..])] {
        let Some(Value::Object(map)) = metadata.get_mut(field) else { continue };
        map.retain(|key, _| !added.iter().any(|prefix| key.starts_with(prefix)));
        if map.is_empty() {
            metadata.remove(field);
        }
    }
}

/// The same number may be written `1` and `1.0`, and helm's own YAML writer changes the one to the other: both become the integer.
fn plain_numbers(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(plain_numbers),
        Value::Object(fields) => fields.values_mut().for_each(plain_numbers),
        Value::Number(number) => {
            if let Some(plain) = number.to_string().strip_suffix(".0").and_then(|digits| digits.parse::<i64>().ok()) {
                *value = plain.into();
            }
        }
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn definition_files(directory: &Path) -> anyhow::Result<Vec<Value>> {
    let entries = std::fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    let mut files = Vec::new();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
        let text = std::fs::read_to_string(path)?;
        let mut file = serde_saphyr::from_str(&text).with_context(|| format!("{} does not parse", path.display()))?;
        plain_numbers(&mut file);
        files.push(file);
    }
    ensure!(!files.is_empty(), "{} holds no definitions", directory.display());
    Ok(files)
}

/// What minimal rights mean here, rule by rule.
fn harmless(kind: &str, rule: &Value) -> anyhow::Result<()> {
    let has =
        |field: &str, wanted: &str| rule[field].as_array().is_some_and(|list| list.iter().any(|item| item == wanted));
    for field in ["apiGroups", "resources", "verbs"] {
        ensure!(!has(field, "*"), "a wildcard in {field}");
    }
    for verb in ["escalate", "bind", "impersonate"] {
        ensure!(!has("verbs", verb), "the verb {verb} hands out rights");
    }
    for resource in ["pods/exec", "pods/attach", "pods/portforward", "serviceaccounts/token", "nodes/proxy"] {
        ensure!(!has("resources", resource), "{resource} reaches into other workloads");
    }
    ensure!(!(has("resources", "persistentvolumeclaims") && has("verbs", "delete")), "volumes may be deleted");
    if has("resources", "secrets") {
        let verbs = rule["verbs"].as_array().map_or(&[][..], Vec::as_slice);
        // Whoever creates one is shown no other.
        if verbs.iter().all(|verb| verb == "create") {
            return Ok(());
        }
        ensure!(kind == "Role", "secrets in every namespace");
        if let Some(verb) = verbs.iter().find(|verb| !["get", "list", "watch"].iter().any(|allowed| *verb == allowed)) {
            bail!("secrets with the verb {verb}");
        }
    }
    Ok(())
}

/// One document of a render, with its separator.
struct Document {
    text: String,
}

impl Document {
    fn is_definition(&self) -> bool {
        self.text.lines().any(|line| line == "kind: CustomResourceDefinition")
    }

    fn parse(&self) -> anyhow::Result<Value> {
        serde_saphyr::from_str(&self.text)
            .with_context(|| format!("a rendered document does not parse:\n{}", self.text))
    }
}

fn documents(render: &str) -> Vec<Document> {
    let mut documents: Vec<Document> = Vec::new();
    for line in render.split_inclusive('\n') {
        match documents.last_mut() {
            Some(document) if line != "---\n" => document.text.push_str(line),
            Some(_) | None => documents.push(Document { text: line.to_owned() }),
        }
    }
    documents
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{documents, harmless, plain_numbers, strip_added};

    #[test]
    fn a_number_is_the_same_with_and_without_a_fraction_of_nothing() {
        let mut value = json!({"maximum": 100.0, "items": [0.0, 0.5, -3.0, 7, "1.0"]});
        plain_numbers(&mut value);
        assert_eq!(value, json!({"maximum": 100, "items": [0, 0.5, -3, 7, "1.0"]}));
    }

    #[test]
    fn a_render_is_split_at_separators_and_loses_nothing() {
        let render = "---\na: 1\n---\nkind: CustomResourceDefinition\n";
        let documents = documents(render);
        assert_eq!(documents.iter().map(|document| &*document.text).collect::<String>(), render);
        assert_eq!(documents.iter().map(super::Document::is_definition).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn dangerous_rules_are_found() {
        let rule = |resource: &str, verb: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": [verb]});
        assert!(harmless("ClusterRole", &rule("pods", "get")).is_ok());
        assert!(harmless("Role", &rule("secrets", "get")).is_ok());
        assert!(harmless("ClusterRole", &rule("secrets", "create")).is_ok());
        for (kind, bad) in [
            ("ClusterRole", rule("secrets", "get")),
            ("Role", rule("secrets", "delete")),
            ("Role", rule("secrets", "patch")),
            ("Role", rule("*", "get")),
            ("Role", rule("pods", "*")),
            ("Role", rule("pods/exec", "create")),
            ("ClusterRole", rule("clusterroles", "bind")),
            ("Role", rule("persistentvolumeclaims", "delete")),
        ] {
            assert!(harmless(kind, &bad).is_err(), "{kind} {bad}");
        }
    }

    #[test]
    fn what_the_chart_adds_is_taken_away_and_nothing_else() {
        let mut definition = json!({"metadata": {"name": "x", "labels": {"helm.sh/chart": "y"}, "annotations": {"helm.sh/a": "b", "own": "c"}}});
        strip_added(&mut definition);
        assert_eq!(definition, json!({"metadata": {"name": "x", "annotations": {"own": "c"}}}));
    }
}
