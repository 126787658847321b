// Questions to the server; every one of them goes to where this page came from.

export class Refusal extends Error {}

export async function ask(path, query = {}) {
  const words = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) words.append(key, one);
  }
  const text = words.toString();
  const response = await fetch(text ? `${path}?${text}` : path);
  if (response.status === 403) throw new Refusal(await response.text());
  const told = await response.json();
  if (!response.ok) throw new Refusal([told.error, told.expected && `expected: ${told.expected}`, told.remedy].filter(Boolean).join(" · "));
  return told;
}
