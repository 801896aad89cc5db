"use strict";
// Asks the same API as every other client, once a second; says so when the numbers are stale.
const ORDER = ["read", "delivered", "sent", "claimed", "retrying", "in_doubt", "failed", "excluded", "cancelled", "pending"];
const fresh = document.getElementById("fresh");
const list = document.getElementById("campaigns");

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

const number = new Intl.NumberFormat("en");

function duration(seconds) {
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`;
  return `${number.format(Math.round(seconds / 360) / 10)} h`;
}

function sentence(stats) {
  if (stats.state === "running") {
    const limit = stats.limited_by ? `, limited by ${stats.limited_by} (${stats.limited_detail})` : "";
    const eta = stats.eta_seconds ? `; done in ${duration(stats.eta_seconds[0])} to ${duration(stats.eta_seconds[1])}` : "";
    return `Sending ${number.format(stats.rate_now)}/s${limit}${eta}`;
  }
  const state = stats.state[0].toUpperCase() + stats.state.slice(1);
  if (stats.state_reason && stats.state_reason.startsWith(state)) return stats.state_reason;
  const reason = stats.state_reason ? `: ${stats.state_reason}` : "";
  const back = stats.resumes_at ? `; goes on by itself at ${new Date(stats.resumes_at).toLocaleString()}` : "";
  return state + reason + back;
}

function card(campaign, stats) {
  const article = element("article");
  article.append(element("h2", campaign.name), element("p", sentence(stats), stats.state === "failed" ? "bad" : ""));
  const bar = element("div", undefined, "bar");
  const facts = element("dl");
  for (const state of ORDER) {
    const count = stats.counts[state];
    const part = element("span", undefined, "c-" + state);
    part.style.width = stats.total ? (100 * count) / stats.total + "%" : "0";
    part.title = `${state}: ${count}`;
    bar.append(part);
    const pair = element("div");
    pair.append(element("dt", state.replace("_", " "), "k-" + state), element("dd", number.format(count)));
    facts.append(pair);
  }
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", ORDER.map((state) => `${state} ${stats.counts[state]}`).join(", "));
  article.append(bar, facts, element("p", `${number.format(stats.total)} contacts in all`));
  if (stats.counts.in_doubt) {
    const link = element("a", `${number.format(stats.counts.in_doubt)} in doubt: the evidence for each`);
    link.href = `/campaigns/${campaign.id}/doubts`;
    const links = element("p", undefined, "links");
    links.append(link);
    article.append(links);
  }
  return article;
}

async function get(path) {
  const answer = await fetch("/api/v1" + path, { signal: AbortSignal.timeout(5000) });
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

let seen = null;
async function refresh() {
  try {
    const campaigns = (await get("/campaigns?limit=10")).items;
    const cards = [];
    for (const campaign of campaigns) cards.push(card(campaign, await get(`/campaigns/${campaign.id}/stats`)));
    list.replaceChildren(...(cards.length ? cards : [element("p", "No campaign yet.")]));
    seen = Date.now();
    fresh.textContent = "Live";
    fresh.className = "";
  } catch {
    fresh.textContent = seen ? `Connection lost; these numbers are ${Math.round((Date.now() - seen) / 1000)} s old` : "The server can't be reached";
    fresh.className = "stale";
  }
  setTimeout(refresh, 1000);
}
refresh();
