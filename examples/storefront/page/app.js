// What the page does: it listens to /stream and draws, and its buttons post.
"use strict";

const $ = (id) => document.getElementById(id);
const el = (tag, name, text) => {
  const e = document.createElement(tag);
  if (name) e.className = name;
  if (text !== undefined) e.textContent = text;
  return e;
};
const number = new Intl.NumberFormat("en").format;
const colour = (id) => (id > 0 ? `var(--b${((id - 1) % 6) + 1})` : "var(--none)");

// ---- where everything stands

const places = {
  shop: [62, 150], orders: [212, 150], payment: [385, 74], fraud: [385, 226], payments: [560, 74], alerts: [710, 226],
  stock: [730, 74], shipments: [900, 74], notification: [1068, 150],
};
const topicNodes = ["orders", "payments", "shipments", "alerts"];
const serviceNodes = ["payment", "stock", "notification", "fraud"];
const pipes = [
  ["shop", "orders"], ["orders", "payment"], ["orders", "fraud"], ["payment", "payments"], ["payments", "stock"],
  ["stock", "shipments"], ["shipments", "notification"], ["payments", "notification"], ["fraud", "alerts"], ["alerts", "notification"],
];
// The way of a dot for each hop that the server counts.
const ways = {
  ">orders": ["shop", "orders"],
  "orders>payment": ["orders", "payment", "payments"],
  "orders>fraud": ["orders", "fraud"],
  "payments>stock": ["payments", "stock", "shipments"],
  "payments>notification": ["payments", "notification"],
  "shipments>notification": ["shipments", "notification"],
  "alerts>notification": ["fraud", "alerts", "notification"],
};
const paths = {};

function layOut() {
  for (const [from, to] of pipes) {
    const [x1, y1] = places[from], [x2, y2] = places[to];
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const bend = from === "payments" && to === "notification" ? 95 : 0; // below the others
    const middle = (x1 + x2) / 2;
    path.setAttribute("d", bend
      ? `M${x1},${y1} C${x1 + 60},${y1 + bend} ${x2 - 160},${y2} ${x2},${y2}`
      : `M${x1},${y1} C${middle},${y1} ${middle},${y2} ${x2},${y2}`);
    $("pipes").append(path);
    paths[`${from}>${to}`] = path;
  }
  const place = (node, name) => {
    node.style.left = `${places[name][0]}px`;
    node.style.top = `${places[name][1]}px`;
    $("nodes").append(node);
  };
  place(el("div", "node shop", "Shop"), "shop");
  for (const name of topicNodes) {
    const node = el("div", "node topic-node");
    node.append(el("b", "", name), el("span", "", "0"));
    node.id = `topic-${name}`;
    place(node, name);
  }
  for (const name of serviceNodes) {
    const node = el("div", "node service");
    node.id = `service-${name}`;
    const workers = el("div", "workers");
    const fewer = el("button", "fewer", "−"), more = el("button", "more", "+");
    fewer.title = "one worker less";
    more.title = "one worker more";
    fewer.onclick = () => post(`/workers/${name}/dismiss`, fewer);
    more.onclick = () => post(`/workers/${name}/hire`, more);
    workers.append(fewer, el("span", "count", "0 workers"), more);
    node.append(el("b", "", name), el("div", "lag", "lag –"), workers);
    place(node, name);
  }
}

// ---- dots

const dots = [];
const maxDots = 350;
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

function launch(hop, count) {
  const way = ways[hop];
  if (!way || still || document.hidden) return;
  const n = Math.min(count, 6);
  for (let i = 0; i < n && dots.length < maxDots; i++) {
    dots.push({ way, leg: 0, at: -i * 14 - Math.random() * 10, colour: hop.startsWith("alerts") ? "#ff5d6c" : hop === "payments>notification" ? "#f2a93b" : "#8fb8ff" });
  }
}

let lastFrame = 0;
function draw(now) {
  const context = $("dots").getContext("2d");
  const step = Math.min(now - lastFrame, 50) * 0.28; // pixels
  lastFrame = now;
  context.clearRect(0, 0, 1160, 300);
  for (let i = dots.length - 1; i >= 0; i--) {
    const dot = dots[i];
    dot.at += step;
    let path = paths[`${dot.way[dot.leg]}>${dot.way[dot.leg + 1]}`];
    if (dot.at > path.getTotalLength()) {
      dot.at -= path.getTotalLength();
      dot.leg++;
      if (dot.leg + 1 >= dot.way.length) {
        dots.splice(i, 1);
        continue;
      }
      path = paths[`${dot.way[dot.leg]}>${dot.way[dot.leg + 1]}`];
    }
    if (dot.at < 0) continue;
    const p = path.getPointAtLength(dot.at);
    context.fillStyle = dot.colour;
    context.beginPath();
    context.arc(p.x, p.y, 3.2, 0, 7);
    context.fill();
  }
  requestAnimationFrame(draw);
}

// ---- how things stand

function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

function showState(s) {
  text($("orders"), number(s.orders));
  text($("per-second"), s.perSecond.toFixed(0));
  if (s.medianMs > 0) text($("median"), s.medianMs < 100 ? `${s.medianMs.toFixed(1)} ms` : s.medianMs < 10000 ? `${s.medianMs.toFixed(0)} ms` : `${(s.medianMs / 1000).toFixed(0)} s`);
  $("trouble").hidden = !s.trouble;
  text($("trouble"), s.trouble || "");
  if (document.activeElement !== $("rate")) {
    $("rate").value = s.rate;
    text($("rate-now"), `${s.rate} / s`);
  }
  const here = s.brokers.some((b) => b.killable);
  $("killable").hidden = !here;
  $("elsewhere").hidden = here;
  s.brokers.forEach(showBroker);
  s.topics.forEach(showTopic);
  s.groups.forEach(showGroup);
}

function child(parent, id, make) {
  let node = $(id);
  if (!node) {
    node = make();
    node.id = id;
    parent.append(node);
  }
  return node;
}

function showBroker(b) {
  const node = child($("brokers"), `broker-${b.id}`, () => {
    const node = el("div", "broker"), about = el("div");
    node.style.setProperty("--colour", colour(b.id));
    about.append(el("b", "", `Broker ${b.id}`), el("small"));
    node.append(about);
    if (b.killable) {
      const button = el("button");
      button.onclick = () => post(`/brokers/${b.id}/${button.dataset.act}`, button);
      node.append(button);
    }
    return node;
  });
  node.classList.toggle("down", !b.up);
  text(node.querySelector("small"), b.up ? `${b.address} · leads ${b.leads}` : "down");
  const button = node.querySelector("button");
  if (button) {
    button.dataset.act = b.up ? "kill" : "revive";
    button.className = button.dataset.act;
    text(button, b.up ? "Kill" : "Revive");
  }
}

function showTopic(t) {
  const mini = $(`topic-${t.name}`);
  if (mini) text(mini.lastChild, number(t.records));
  const node = child($("topics"), `tiles-${t.name}`, () => {
    const node = el("div", "topic");
    node.append(el("span", "", t.name), el("span", "records"), el("div", "tiles"));
    return node;
  });
  text(node.querySelector(".records"), number(t.records));
  const tiles = node.querySelector(".tiles");
  t.partitions.forEach((p, n) => {
    let tile = tiles.children[n];
    if (!tile) {
      tile = el("div", "tile");
      tile.append(el("div", "", String(n)), el("div"));
      tile.onanimationend = () => tile.classList.remove("flash");
      tiles.append(tile);
    }
    tile.style.setProperty("--colour", colour(p.leader));
    tile.classList.toggle("none", p.leader < 0);
    tile.title = `${t.name}-${n}: ${p.leader < 0 ? "no leader" : `led by broker ${p.leader}`}, replicas ${p.replicas.join(", ")}, in sync ${(p.isr || []).join(", ")}, ${number(p.end)} records`;
    const marks = p.replicas.map((r) => (p.isr || []).includes(r)).join();
    if (tile.dataset.marks !== marks) {
      tile.dataset.marks = marks;
      tile.lastChild.replaceChildren(...p.replicas.map((r) => el("i", (p.isr || []).includes(r) ? "in" : "")));
    }
    if (tile.dataset.end && tile.dataset.end !== String(p.end)) tile.classList.add("flash");
    tile.dataset.end = p.end;
  });
}

function showGroup(g) {
  const node = $(`service-${g.name}`);
  if (!node) return;
  const lag = node.querySelector(".lag");
  text(lag, g.lag < 0 ? "lag –" : `lag ${number(g.lag)}`);
  lag.classList.toggle("behind", g.lag > 50);
  text(node.querySelector(".count"), g.workers === 1 ? "1 worker" : `${g.workers} workers`);
  node.querySelector(".fewer").disabled = g.workers === 0;
  node.classList.toggle("rebalancing", g.state !== "Stable");
  node.title = `group ${g.name}: ${g.state}, ${g.members} members`;
}

// ---- what is said

function say(list, name, when, subject, rest) {
  const line = el("li", name);
  if (when) line.append(el("time", "", when));
  line.append(el("b", "", subject));
  if (rest) line.append(` ${rest}`);
  line.title = line.textContent;
  list.prepend(line);
  while (list.children.length > 40) list.lastChild.remove();
}

function showPulse(p) {
  for (const [hop, count] of Object.entries(p.hops)) launch(hop, count);
  for (const s of p.samples || []) {
    const price = `${(s.order.cents / 100).toFixed(2)} €`;
    const kind = s.note?.startsWith("fraud") ? "fraud" : s.note?.startsWith("declined") ? "warn" : s.note ? "ship" : "";
    say($("samples"), kind, "", s.from ? `${s.from} → ${s.to}` : "placed", `${s.note ? `${s.note} · ` : ""}${s.order.product} ${price} · ${s.order.card} · ${s.order.id}`);
  }
}

async function post(path, button, body) {
  if (button) button.disabled = true;
  text($("answer"), "");
  try {
    const answer = await fetch(path, { method: "POST", body: body && JSON.stringify(body) });
    text($("answer"), answer.ok ? (path === "/orders" ? "placed" : "") : await answer.text());
  } catch (e) {
    text($("answer"), `the storefront does not answer: ${e.message}`);
  } finally {
    if (button) button.disabled = false;
  }
}

function listen() {
  const stream = new EventSource("/stream");
  const on = (name, show) => stream.addEventListener(name, (e) => show(JSON.parse(e.data)));
  on("state", showState);
  on("pulse", showPulse);
  on("line", (l) => say($("lines"), l.kind, l.time, l.text));
  stream.onerror = () => {
    $("trouble").hidden = false;
    text($("trouble"), "the storefront does not answer; trying again");
  };
  stream.onopen = () => $("lines").replaceChildren(); // the last ones come again
}

const prices = { apples: 350, bread: 420, cheese: 1190, coffee: 899, honey: 640, olives: 575, wine: 1450 };

function prepareForm() {
  const form = $("order");
  for (const name of Object.keys(prices)) form.product.append(el("option", "", name));
  const price = () => { form.price.value = (prices[form.product.value] / 100).toFixed(2); };
  form.product.onchange = price;
  price();
  form.onsubmit = (e) => {
    e.preventDefault();
    post("/orders", form.querySelector(".primary"), { card: form.card.value, product: form.product.value, cents: Math.round(form.price.value * 100) });
  };
  $("poison").onclick = () => post("/orders", $("poison"), { card: form.card.value, product: "poison", cents: 100 });
  $("rate").oninput = () => text($("rate-now"), `${$("rate").value} / s`);
  $("rate").onchange = () => { post(`/rate/${$("rate").value}`); $("rate").blur(); };
  $("more-partitions").onclick = () => post("/partitions", $("more-partitions"));
}

layOut();
prepareForm();
listen();
requestAnimationFrame(draw);
