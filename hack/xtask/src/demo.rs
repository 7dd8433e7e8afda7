//! `cargo xtask demo`: a VM is launched before its disk exists anywhere, and boots from it all the same.
//!
//! What the terminal shows is what happened: the manifests are files that anybody can apply again, `kubectl` is run as
//! printed, and the end is a line on a serial console that only the disk made in this run can print.

mod diagnosis;
mod kubectl;
mod manifests;
mod progress;
mod story;
mod wait;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod, ServiceAccount};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use populator_crd::VMDiskSync;
use vmdisk_e2e::environment::Environment;
use vmdisk_e2e::instance::Instance;
use vmdisk_e2e::vm::console::{self, Greeting};
use vmdisk_e2e::vm::disk::{self, Disk};
use vmdisk_e2e::vm::{container_disk, image};
use vmdisk_e2e::{cache, launcher};

use crate::deploy::{self, Profile};
use kubectl::Kubectl;
use manifests::{CLAIM, NAMESPACE, VM};
use story::Story;

/// How `cargo xtask demo` is asked.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Leave the cluster and the demo's objects there to look at
    #[arg(long)]
    keep: bool,
}

/// Random bytes for the guest to read back, beside its kernel: enough to see the sync at work.
const PAYLOAD: u64 = 96 << 20;

/// What the registry sends of the disk in a second: on one machine there is no link to wait for, and nothing to see.
const LINK: u64 = 10 << 20;

/// For what takes a second on an idle machine, and may take longer on a busy one.
const SOON: Duration = Duration::from_mins(1);

/// For filling the claim, and for booting from it.
const LONG: Duration = Duration::from_mins(3);

/// Runs the demo.
pub(crate) fn run(options: &Options) -> Result<()> {
    // Fails when a provider is installed already; it is the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let instance = Instance::current()?;
    let found_up = Environment::load(&instance).is_ok();
    let mut story = Story::begin("A VM is launched before its disk exists anywhere, and boots from it all the same.");

    story.step("A Kubernetes cluster on this machine: two nodes, a CSI driver, a registry")?;
    launcher::up(&instance)?;

    story.step("The operator: its two images, and the manifests")?;
    deploy::run(Profile::Images)?;
    let machine = image::ensure(&instance)?;

    let demo = Demo::new(&instance, machine)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the asynchronous runtime")?;
    if let Err(error) = runtime.block_on(demo.play(&mut story)) {
        story.say(&format!("\nfailed: {error:#}"))?;
        diagnosis::tell(&demo.kubectl, &story)?;
        story.say("\nEverything is left as it is. To look around:  . target/cluster/env")?;
        story.say("To remove it:                                 cargo xtask cluster down")?;
        return Err(error.context("the demo failed"));
    }

    if options.keep {
        story.say("The cluster stays. To look around:  . target/cluster/env; kubectl -n demo get vmdisk,pvc,pod")?;
        return story.say("To remove it:                       cargo xtask cluster down");
    }
    if found_up {
        story.say("The cluster was up before, and stays; the namespace demo is removed.")?;
        return demo.kubectl.run("delete namespace demo").map(drop);
    }
    launcher::down(&instance)
}

/// One run.
struct Demo {
    /// What makes this run's disk this run's.
    nonce: String,
    /// Where this run's files lie.
    dir: PathBuf,
    /// The containerDisk, as the registry's clients write it.
    reference: String,
    /// The registry's CA.
    ca: PathBuf,
    /// Where the servers beside the cluster are steered.
    control: String,
    /// The storage class, of the kind that waits for its consumer.
    class: String,
    /// The image that runs VMs.
    machine: String,
    kubeconfig: PathBuf,
    kubectl: Kubectl,
}

impl Demo {
    fn new(instance: &Instance, machine: String) -> Result<Self> {
        let environment = Environment::load(instance)?;
        let dir = instance.checkout().join("target/demo");
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let nonce = nonce()?;
        Ok(Self {
            reference: format!("{}/demo:{nonce}", environment.get("REGISTRY")?),
            ca: environment.path("CA_FILE")?,
            control: environment.get("CONTROL_URL")?.to_owned(),
            class: environment.get("STORAGE_CLASS_WFFC")?.to_owned(),
            kubeconfig: environment.path("KUBECONFIG")?,
            kubectl: Kubectl::new(&environment, instance.checkout())?,
            nonce,
            dir,
            machine,
        })
    }

    async fn play(&self, story: &mut Story) -> Result<()> {
        let client = self.client().await?;
        let pods = Api::<Pod>::namespaced(client.clone(), NAMESPACE);
        let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), NAMESPACE);
        let accounts = Api::<ServiceAccount>::namespaced(client.clone(), NAMESPACE);
        let events = Api::<Event>::namespaced(client.clone(), NAMESPACE);
        let syncs = Api::<VMDiskSync>::namespaced(client, NAMESPACE);

        story.step("A disk that boots, made now: GRUB, Debian's kernel, and a nonce")?;
        let disk = self.disk(story).await?;
        manifests::write(self)?;
        // What an earlier demo left.
        self.kubectl.run("delete namespace demo --ignore-not-found")?;

        story.step("The VM first: its claim does not exist")?;
        self.kubectl.show(story, "apply -f target/demo/0-namespace.yaml")?;
        wait::found(&accounts, "default", "exists", SOON, |_| Some(())).await?;
        self.kubectl.show(story, "apply -f target/demo/1-vm.yaml")?;
        let why = wait::found(&pods, VM, "waits for its claim", SOON, unschedulable).await?;
        story.detail(&format!("The VM waits: {why}"))?;

        story.step("The claim second: its image does not exist")?;
        self.kubectl.show(story, "apply -f target/demo/2-claim.yaml")?;
        let why = wait::told(&events, CLAIM, "PopulatorDataSourceNotFound", SOON).await?;
        story.detail(&format!("The claim waits: {why}"))?;
        self.kubectl.show(story, "-n demo get pod,pvc")?;

        story.step("The image last: the sync begins by itself")?;
        self.kubectl.show(story, "apply -f target/demo/3-image.yaml")?;
        story.command("kubectl -n demo get vmdisksync --watch")?;
        progress::follow(&syncs, story, LONG).await?;
        wait::found(&claims, CLAIM, "is bound", SOON, is_bound).await?;
        self.kubectl.show(story, "-n demo get pvc")?;

        story.step("The VM boots from the claim, in a pod shaped like KubeVirt's virt-launcher")?;
        story.command("kubectl -n demo logs --follow vm")?;
        let greeting = console::greeting(&pods, VM, LONG, |line| story.quote(line)).await?;
        judge(&disk, &greeting)?;
        wait::found(&pods, VM, "has switched itself off", SOON, has_succeeded).await?;
        self.kubectl.show(story, "-n demo get vmdisk,pvc,pod")?;
        story.end(&format!(
            "The guest printed {}, which is on no disk but this run's. It read {} MiB of random data with the right\n\
             checksum, and sees a disk of {} MiB: the image has {}, and the claim had room for more.",
            greeting.nonce,
            PAYLOAD >> 20,
            greeting.disk_size >> 20,
            disk.virtual_size >> 20,
        ))
    }

    async fn client(&self) -> Result<Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).context("cannot read the cluster's kubeconfig")?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let config = config.context("cannot use the cluster's kubeconfig")?;
        Client::try_from(config).context("cannot make a client of the cluster")
    }

    /// Builds the disk, and pushes it as a containerDisk. The object that names it comes last.
    async fn disk(&self, story: &Story) -> Result<Disk> {
        let scratch = tempfile::tempdir_in(&self.dir).context("cannot make a scratch directory")?;
        let file = scratch.path().join("disk.qcow2");
        let disk = disk::build(&file, &self.nonce, PAYLOAD)?;
        let (size, virtual_size) = (file_size(&file)? >> 20, disk.virtual_size >> 20);
        story.detail(&format!(
            "disk.qcow2: {size} MiB for a disk of {virtual_size} MiB, with the nonce {}",
            self.nonce
        ))?;
        let packed = container_disk::pack(&file, &scratch.path().join("layout"))?;
        packed.push(&self.reference, &self.ca)?;
        story.detail(&format!("pushed as a containerDisk: {}", self.reference))?;
        self.slow(&packed.layer).await?;
        story.detail(&format!("which its registry sends at {} MiB/s, as a link that costs money might", LINK >> 20))?;
        Ok(disk)
    }

    /// Makes the registry's relay slow for one blob.
    async fn slow(&self, layer: &str) -> Result<()> {
        let url = format!("{}/registry/fault?path=/v2/demo/blobs/{layer}", self.control);
        let client = reqwest::Client::builder().no_proxy().build().context("cannot make an HTTP client")?;
        let answer = client.put(&url).json(&serde_json::json!({"bytes_per_second": LINK})).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.map(drop).with_context(|| format!("the registry's relay cannot be steered by {url}"))
    }
}

/// Eight digits that no other run has.
fn nonce() -> Result<String> {
    let mut bytes = [0; 4];
    let mut random = File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    random.read_exact(&mut bytes).context("cannot read /dev/urandom")?;
    Ok(cache::hex(&bytes))
}

fn file_size(file: &std::path::Path) -> Result<u64> {
    Ok(fs::metadata(file).with_context(|| format!("cannot read the size of {}", file.display()))?.len())
}

/// Whether the guest that spoke booted from the disk that was made.
fn judge(disk: &Disk, greeting: &Greeting) -> Result<()> {
    ensure!(
        greeting.nonce == disk.nonce,
        "the guest printed the nonce {}, which is on another disk than this run's ({})",
        greeting.nonce,
        disk.nonce
    );
    ensure!(
        greeting.payload_sha256 == disk.payload_sha256,
        "the guest read a payload of sha256:{} from its disk; sha256:{} was put there",
        greeting.payload_sha256,
        disk.payload_sha256
    );
    ensure!(
        greeting.disk_size >= disk.virtual_size,
        "the guest's disk has {} bytes; the image has {}",
        greeting.disk_size,
        disk.virtual_size
    );
    Ok(())
}

/// Why the scheduler does not place a pod.
fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let scheduled = conditions.iter().find(|condition| condition.type_ == "PodScheduled")?;
    if scheduled.status == "False" { scheduled.message.as_deref().map(said_once) } else { None }
}

/// The scheduler's message without sentences that only repeat the end of the one before: of a claim that is not there it
/// says so twice, once when it filters the nodes and once when it looks for a pod to preempt ("… not found. not found").
fn said_once(message: &str) -> String {
    let mut said: Vec<&str> = Vec::new();
    for sentence in message.trim_end_matches('.').split(". ") {
        if !said.last().is_some_and(|before| before.ends_with(sentence)) {
            said.push(sentence);
        }
    }
    said.join(". ")
}

fn has_succeeded(pod: &Pod) -> Option<()> {
    (pod.status.as_ref()?.phase.as_deref() == Some("Succeeded")).then_some(())
}

fn is_bound(claim: &PersistentVolumeClaim) -> Option<()> {
    (claim.status.as_ref()?.phase.as_deref() == Some("Bound")).then_some(())
}

#[cfg(test)]
#[path = "demo_tests.rs"]
mod tests;
