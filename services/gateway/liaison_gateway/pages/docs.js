// Lists the operations of the composed OpenAPI document, grouped by the module that answers them.
"use strict";

const WORDS = {
  en: {
    search: "Search", permission: "Permission", open: "No sign-in needed", parameters: "Parameters",
    body: "Body", answers: "Answers", required: "required", version: "version", nothing: "Nothing matches.",
    failed: "The document cannot be loaded: ", file: "A file (form field or raw body)",
  },
  fr: {
    search: "Rechercher", permission: "Droit", open: "Sans connexion", parameters: "Paramètres",
    body: "Corps", answers: "Réponses", required: "obligatoire", version: "version", nothing: "Aucun résultat.",
    failed: "Le document ne peut être chargé : ", file: "Un fichier (champ de formulaire ou corps brut)",
  },
};
const METHODS = ["get", "post", "put", "patch", "delete"];
const byId = (id) => document.getElementById(id);
const language = byId("language");
const search = byId("search");
let api = null;

// Text always goes in as text: nothing that a manifest says can become markup.
function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function resolved(schema, depth = 0, seen = []) {
  if (schema === null || typeof schema !== "object" || depth > 12) return schema;
  if (Array.isArray(schema)) return schema.map((item) => resolved(item, depth + 1, seen));
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    if (seen.includes(name)) return { $ref: name };
    return resolved(api.components.schemas[name] ?? { $ref: name }, depth + 1, [...seen, name]);
  }
  return Object.fromEntries(Object.entries(schema).map(([k, v]) => [k, resolved(v, depth + 1, seen)]));
}

function brief(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.anyOf) return schema.anyOf.map(brief).join(" | ");
  if (schema.type === "array") return `${brief(schema.items)}[]`;
  return [schema.type, schema.format && `(${schema.format})`].filter(Boolean).join(" ");
}

function schemaBlock(content) {
  const [kind, media] = Object.entries(content ?? {})[0] ?? [];
  if (!kind) return null;
  if (kind === "multipart/form-data") return element("p", { textContent: words().file });
  const block = element("details", {}, element("summary", { textContent: `${kind} · ${brief(media.schema)}` }));
  block.addEventListener("toggle", () => {
    if (block.open && block.children.length === 1) {
      block.append(element("pre", { textContent: JSON.stringify(resolved(media.schema), null, 2) }));
    }
  });
  return block;
}

function words() {
  return WORDS[language.value];
}

function operationBlock(path, method, operation) {
  const said = words();
  const block = element("details", { id: operation.operationId },
    element("summary", {},
      element("span", { className: `method ${method.toUpperCase()}`, textContent: method.toUpperCase() }),
      element("code", { textContent: path }),
      element("span", { className: "says", textContent: operation.summary ?? "" })));
  block.addEventListener("toggle", () => {
    if (!block.open || block.children.length > 1) return;
    const more = element("div", { className: "more" });
    if (operation.description) more.append(element("p", { textContent: operation.description }));
    const right = operation["x-permission"];
    const open = operation.security?.length === 0;
    if (right || open) {
      more.append(element("p", { className: "muted", textContent: open ? said.open : `${said.permission} : ${right}` }));
    }
    if (operation.parameters?.length) {
      const rows = operation.parameters.map((p) => element("tr", {},
        element("td", {}, element("code", { textContent: p.name })),
        element("td", { className: "muted", textContent: [p.in, p.required && said.required].filter(Boolean).join(", ") }),
        element("td", { textContent: brief(p.schema) }),
        element("td", { textContent: p.description ?? "" })));
      more.append(element("h3", { textContent: said.parameters }), element("table", {}, element("tbody", {}, ...rows)));
    }
    const body = schemaBlock(operation.requestBody?.content);
    if (body) more.append(element("h3", { textContent: said.body }), body);
    more.append(element("h3", { textContent: said.answers }));
    for (const [status, answer] of Object.entries(operation.responses)) {
      more.append(element("div", {}, element("code", { textContent: status }), ` ${answer.description}`));
      const shape = status < "300" ? schemaBlock(answer.content) : null;
      if (shape) more.append(shape);
    }
    block.append(more);
  });
  return block;
}

function show() {
  const said = words();
  document.documentElement.lang = language.value;
  byId("search-label").textContent = said.search;
  const wanted = search.value.trim().toLowerCase();
  const menu = byId("modules");
  const main = byId("operations");
  menu.replaceChildren();
  main.replaceChildren();
  for (const tag of api.tags) {
    const blocks = [];
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const method of METHODS) {
        const operation = methods[method];
        if (!operation?.tags.includes(tag.name)) continue;
        const text = `${method} ${path} ${operation.summary} ${operation.operationId}`.toLowerCase();
        if (text.includes(wanted)) blocks.push(operationBlock(path, method, operation));
      }
    }
    if (!blocks.length) continue;
    const label = tag["x-label"]?.[language.value] ?? tag.name;
    menu.append(element("a", { href: `#module-${tag.name}`, textContent: label }));
    main.append(element("section", {},
      element("h2", { id: `module-${tag.name}` }, `${label} `,
        element("small", { textContent: `${said.version} ${tag["x-version"] ?? "?"}` })),
      ...blocks));
  }
  if (!main.children.length) main.append(element("p", { textContent: said.nothing }));
}

async function start() {
  language.value = navigator.language.startsWith("fr") ? "fr" : "en";
  try {
    const answer = await fetch("/api/v1/openapi.json");
    if (!answer.ok) throw new Error(answer.status);
    api = await answer.json();
  } catch (error) {
    byId("operations").textContent = words().failed + error.message;
    return;
  }
  language.addEventListener("change", show);
  search.addEventListener("input", show);
  show();
}

start();
