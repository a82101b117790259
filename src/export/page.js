// Reads pictures, runs the network on each, and shows what it says. Names of classes and files are only text.

const SHOWN = 5; // classes of a picture
const SIDE = 192; // pixels of a thumbnail's longer side
const STRIP = 512; // rows of a picture that are drawn at once: phones have no canvas for all of a large one

const get = (id) => document.getElementById(id);
const facts = JSON.parse(get("facts").textContent);
const network = prepare();

// The bytes of a gzip file written in base64.
async function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(inflated).arrayBuffer());
}

// The session that runs the network, after a first run, which takes longer than others.
async function prepare() {
  const module = new Blob([await unpack(runtime.module)], { type: "text/javascript" });
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(module) };
  ort.env.wasm.wasmBinary = await unpack(runtime.binary);
  const session = await ort.InferenceSession.create(await unpack(get("network").textContent), {
    executionProviders: ["wasm"],
    logSeverityLevel: 3, // errors
  });
  await run(session, new Uint8Array(3 * facts.height * facts.width));
  return session;
}

// The probability of each class, from an input of 3 x height x width bytes.
async function run(session, input) {
  const images = new ort.Tensor("uint8", input, [1, 3, facts.height, facts.width]);
  const answers = await session.run({ [session.inputNames[0]]: images });
  return Array.from(answers[session.outputNames[0]].data);
}

// The decoded picture, upright, with the values that are in the file; an Error says why there is none.
async function decode(blob) {
  const head = new Uint8Array(await blob.slice(0, 26).arrayBuffer());
  if (!head.length) throw new Error("empty file");
  const isPng = String.fromCharCode(...head.subarray(1, 4)) === "PNG";
  if (isPng && head[24] === 16 && head[25] % 4 === 0 && facts.pictures.grey_range !== "file") {
    throw new Error("16-bit grey, of which a browser does not know the range (use classifier.py)");
  }
  const asStored = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };
  const bitmap = await createImageBitmap(blob, asStored).catch(() => {
    throw new Error("not a picture that this browser can read");
  });
  const { width, height } = bitmap, { min_side: least, max_pixels: most } = facts.pictures;
  if (Math.min(width, height) >= least && width * height <= most) return bitmap;
  bitmap.close();
  const rule = width * height > most ? `large: the limit is ${most}` : `small: at least ${least} are needed`;
  throw new Error(`${width} x ${height} pixels are too ${rule}`);
}

// The pixels of a picture on black, height x width x 3 bytes.
function readPixels(bitmap) {
  const { width, height } = bitmap;
  const pixels = new Uint8ClampedArray(height * width * 3);
  const canvas = Object.assign(document.createElement("canvas"), { width, height: Math.min(height, STRIP) });
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  for (let top = 0, at = 0; top < height; top += STRIP) {
    const rows = Math.min(STRIP, height - top);
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, 0, -top);
    const { data } = context.getImageData(0, 0, width, rows);
    for (let from = 0; from < data.length; from += 4) {
      pixels[at++] = data[from];
      pixels[at++] = data[from + 1];
      pixels[at++] = data[from + 2];
    }
  }
  return pixels;
}

// A picture as the network's input: 3 x height x width bytes.
function toInput(bitmap) {
  const fit = Object.keys(FITS).find((name) => name in facts);
  const { height, width } = facts, size = height * width;
  const fitted = fitPicture(readPixels(bitmap), bitmap.height, bitmap.width, height, width, fit);
  const input = new Uint8Array(3 * size);
  for (let place = 0; place < size; place++) {
    for (let channel = 0; channel < 3; channel++) input[channel * size + place] = fitted[place * 3 + channel];
  }
  return input;
}

// As is_unsure of demos/classifier.py.
function isUnsure(probabilities) {
  const threshold = facts.calibration?.threshold ?? 0;
  const needed = threshold * probabilities.reduce((sum, one) => sum + one, 0);
  return threshold > 0 && !(Math.max(...probabilities) >= needed && needed > 0);
}

// What the network says of a decoded picture, and in how many milliseconds it ran.
async function classify(bitmap) {
  const session = await network, input = toInput(bitmap), start = performance.now();
  const probabilities = await run(session, input), ran = performance.now() - start;
  return { input, probabilities, unsure: isUnsure(probabilities), ran };
}

// The same of a picture file's bytes: for programs that drive this page.
async function classifyBytes(bytes) {
  const bitmap = await decode(new Blob([bytes]));
  return classify(bitmap).finally(() => bitmap.close());
}

function clone(id) {
  return get(id).content.cloneNode(true).firstElementChild;
}

function drawThumbnail(canvas, bitmap) {
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.classList.toggle("small", Math.max(canvas.width, canvas.height) <= 48);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
}

function makeBar(number, probability) {
  const row = clone("bar"), percent = `${(100 * probability).toFixed(1)} %`;
  row.querySelector(".class").textContent = facts.classes[number];
  row.querySelector(".percent").textContent = percent;
  row.querySelector(".bar").style.width = `${100 * probability}%`;
  return row;
}

function makeCard(name, bitmap, { probabilities, unsure, ran }, whole) {
  const card = clone("card"), canvas = card.querySelector("canvas");
  const order = [...probabilities.keys()].sort((one, other) => probabilities[other] - probabilities[one]);
  const best = facts.classes[order[0]];
  drawThumbnail(canvas, bitmap);
  canvas.setAttribute("aria-label", name);
  card.classList.toggle("unsure", unsure);
  card.querySelector(".name").textContent = card.querySelector(".name").title = name;
  card.querySelector(".answer").textContent = unsure ? `unsure, perhaps ${best}` : best;
  const bars = order.slice(0, SHOWN).map((number) => makeBar(number, probabilities[number]));
  card.querySelector(".bars").append(...bars);
  card.querySelector(".time").textContent = `${whole.toFixed(1)} ms (network ${ran.toFixed(1)} ms)`;
  return card;
}

function complain(text) {
  get("problems").append(Object.assign(document.createElement("li"), { textContent: text }));
}

// Shows each picture's card as soon as there is one; a list of names and functions that decode.
async function show(pictures) {
  get("problems").replaceChildren();
  const before = get("results").firstChild;
  let done = 0;
  for (const [name, open] of pictures) {
    get("state").textContent = `${++done} of ${pictures.length} ...`;
    try {
      const start = performance.now(), bitmap = await open(), answer = await classify(bitmap);
      get("results").insertBefore(makeCard(name, bitmap, answer, performance.now() - start), before);
      bitmap.close();
    } catch (error) {
      complain(`${name}: ${error.message}`);
    }
    await new Promise((next) => setTimeout(next)); // the page stays awake
  }
  const failed = get("problems").childElementCount;
  get("state").textContent = `${done - failed} of ${done} classified`;
}

let queue = network.catch(() => {}); // one batch after the other
function enqueue(pictures) {
  queue = queue.then(() => show(pictures));
  return queue;
}

function takeFiles(files) {
  return enqueue([...files].map((file) => [file.name, () => decode(file)]));
}

const NO_CAMERA = {
  NotFoundError: "there is no camera",
  NotAllowedError: "the camera was not allowed",
  NotReadableError: "the camera is in use by another program",
};

async function startCamera() {
  get("problems").replaceChildren();
  try {
    if (!navigator.mediaDevices) throw new Error("this browser gives no camera to this page");
    const video = { facingMode: "environment" };
    get("video").srcObject = await navigator.mediaDevices.getUserMedia({ video });
    get("view").hidden = false;
    get("camera").textContent = "Stop the camera";
    await get("video").play();
  } catch (error) {
    stopCamera();
    complain(`${NO_CAMERA[error.name] ?? error.message}: pick or drop pictures instead`);
  }
}

function stopCamera() {
  get("video").srcObject?.getTracks().forEach((track) => track.stop());
  get("video").srcObject = null;
  get("view").hidden = true;
  get("camera").textContent = "Start the camera";
}

function describeNetwork() {
  const { classes, height, width, arch, base, student, calibration } = facts;
  const fit = Object.keys(FITS).find((name) => name in facts);
  const threshold = calibration?.threshold ?? 0;
  get("about").textContent = `${classes.length} classes, by ${arch} on ${width} x ${height} pixels`;
  const rows = {
    classes: classes.join(", "),
    input: `${width} x ${height} pixels: ${facts[fit]}`,
    unsure: threshold > 0 ? `below a confidence of ${(100 * threshold).toFixed(1)} %` : "never",
    probabilities: `${base}, at temperature ${calibration?.temperature ?? 1}`,
    weights: `SHA-256 ${student}`,
  };
  for (const [name, text] of Object.entries(rows)) {
    for (const [kind, content] of [["dt", name], ["dd", text]]) {
      get("network-facts").append(Object.assign(document.createElement(kind), { textContent: content }));
    }
  }
}

describeNetwork();
network.then(
  () => (get("state").textContent = "Ready."),
  (error) => {
    get("state").textContent = "";
    complain(`this browser cannot run the network: ${error.message}`);
  },
);
get("pick").addEventListener("change", (event) => {
  takeFiles(event.target.files);
  event.target.value = ""; // or picking the same file again would be no change
});
get("camera").addEventListener("click", () => (get("video").srcObject ? stopCamera() : startCamera()));
get("shoot").addEventListener("click", () => {
  enqueue([[`camera, ${new Date().toLocaleTimeString()}`, () => createImageBitmap(get("video"))]]);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  get("drop").classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) get("drop").classList.remove("over"); // it left the window
});
addEventListener("drop", (event) => {
  event.preventDefault();
  get("drop").classList.remove("over");
  takeFiles(event.dataTransfer.files);
});
