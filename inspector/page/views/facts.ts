/** Lists what a container has: networks, addresses, ports, names, files; what is missing of it, and what could not be removed. */
import { html } from 'htm/preact';
import type { VNode } from 'preact';
import { faultText, portText } from '../model/format.ts';
import type { ContainerView } from '../model/wire.ts';

function Row({ name, children }: { name: string; children?: unknown }): VNode {
  return html`<div class="fact">
    <dt>${name}</dt>
    <dd>${children}</dd>
  </div>`;
}

function Networks({ view }: { view: ContainerView }): VNode[] {
  return Object.entries(view.networks).map(([network, { interfaces }]) => {
    const lines = Object.entries(interfaces).map(
      ([link, { mac_address: mac, subnets }]) => `${link}  ${mac}  ${subnets.map(({ ipnet }) => ipnet).join('  ')}`,
    );
    return html`<${Row} key=${network} name=${network}>
      ${lines.map((line) => html`<div class="mono">${line}</div>`)}
    <//>`;
  });
}

export function Facts({ view }: { view: ContainerView }): VNode {
  const { uplink, ports, drift, leftovers, netns, files, requested_networks: requested, networks } = view;
  const waiting = Object.keys(requested).filter((name) => networks[name] === undefined);
  const { type, network, fault } = view.last_operation;
  return html`<dl class="facts">
    <${Row} name="last operation">
      ${type}${network === null ? '' : ` ${network}`}${fault === null ? null : html`<div class="bad">${faultText(fault)}</div>`}
    <//>
    <${Networks} view=${view} />
    ${waiting.length === 0 ? null : html`<${Row} name="requested">${waiting.join(', ')}<//>`}
    ${
      uplink === null
        ? null
        : html`<${Row} name=${uplink.program}>
            <div class="mono">${uplink.interface ?? 'not started'} ${uplink.mac ?? ''}</div>
            ${uplink.addresses.map(({ address, prefix }) => html`<div class="mono">${address}/${prefix}</div>`)}
          <//>`
    }
    ${
      ports.length === 0
        ? null
        : html`<${Row} name="ports">
            ${ports.map((port) => html`<div class="mono">${portText(port)}</div>`)}
            <div class="dim">carried by ${view.port_handler}</div>
          <//>`
    }
    ${
      drift.length === 0
        ? null
        : html`<${Row} name="drift"
            >${drift.map(({ kind, object }) => html`<div>▲ ${kind}: <span class="mono">${object}</span></div>`)}<//
          >`
    }
    ${
      leftovers.length === 0
        ? null
        : html`<${Row} name="leftovers"
            >${leftovers.map((left) => html`<div class="bad">✕ ${faultText(left)}</div>`)}<//
          >`
    }
    <${Row} name="namespace">${netns.mode} <span class="mono dim">${netns.path ?? ''}</span><//>
    ${view.outside === null ? null : html`<${Row} name="outside"><span class="mono">${view.outside}</span><//>`}
    ${view.bound_to === null ? null : html`<${Row} name="bound to">process ${view.bound_to}<//>`}
    ${view.exit_fd === null ? null : html`<${Row} name="ends with">descriptor ${view.exit_fd.fd} of process ${view.exit_fd.pid}<//>`}
    ${files === null ? null : html`<${Row} name="files"><span class="mono">${files.resolv_conf}</span><//>`}
    <${Row} name="created">${new Date(view.created).toLocaleString()}, generation ${view.generation}<//>
  </dl>`;
}
